//! Walks through pages, and what is wrong with one.

use std::collections::HashSet;

use harness::{Failure, OrObserved};

use crate::stage::Listed;
use crate::subject::{Cursor, Directory, Page, Status};

const SKIPPED: &str = "Whoever shares a moment with the last of a page is skipped: a moment is no total order, so a page \
                       has to go on after the moment and the id.";
const ORDER: &str =
    "The order is the moment, then the id, both descending; without the id equal moments come as they like.";
const SHIFTED: &str = "A page goes on after the last listed user's place in the order; a number of rows shifts with everybody \
                       who comes or goes in between (OFFSET counts rows, not people).";
const CHANGED: &str = "Users are shown as they are in the table, to the microsecond.";
const ELSEWHERE: &str = "A page goes on where the one before ended, on every replica: a cursor carries all that it takes to \
                         find that place.";

/// More pages than any region of a small table has.
const PAGES_MAX: usize = 200;

const LONG: &str = "A page holds as many as were asked for, and no more.";
const OTHERS: &str =
    "A region is compared as it is, bound or quoted and not as a pattern, and only who is active is listed.";

pub const SHORT: &str = "A page is only shorter than asked for when nobody is left.";

/// One page, read with care.
pub async fn page(
    directory: &Directory,
    region: &str,
    after: Option<Cursor>,
    limit: u32,
) -> Result<(Vec<Listed>, Option<Cursor>), Failure> {
    let Page { users, next } = directory
        .list_active(region, after, limit)
        .await
        .or_observed("list_active failed")?;
    if users.len() > limit as usize {
        let observed = format!("{} users on a page of {limit}", users.len());
        return Err(Failure::new(observed).because(LONG));
    }
    if let Some(user) = users
        .iter()
        .find(|user| user.status != Status::Active || user.region != region)
    {
        let observed = format!(
            "user {} of `{}`, {}, is listed as active in `{region}`",
            user.id, user.region, user.status
        );
        return Err(Failure::new(observed).because(OTHERS));
    }
    Ok((users.iter().map(Listed::from).collect(), next))
}

/// Every page of a region, each from the next of the replicas; `between` happens after each page but the last.
pub async fn walk(
    replicas: &[&Directory],
    region: &str,
    limit: u32,
    mut between: impl AsyncFnMut(&[Listed]) -> Result<(), Failure>,
) -> Result<Vec<Listed>, Failure> {
    let mut listed: Vec<Listed> = Vec::new();
    let mut after = None;
    let mut short = None;
    for replica in replicas.iter().cycle().take(PAGES_MAX) {
        let (users, next) = page(replica, region, after, limit).await?;
        let nobody = users.is_empty();
        if let Some(short) = short.filter(|_| !nobody) {
            let observed = format!("a page of {limit} held {short} users, and the next one held more");
            return Err(Failure::new(observed).because(SHORT));
        }
        short = (users.len() < limit as usize).then_some(users.len());
        listed.extend(users);
        match next {
            Some(cursor) if !nobody => after = Some(cursor),
            _ => return Ok(listed),
        }
        between(&listed).await?;
    }
    let observed = format!("{PAGES_MAX} pages of {limit} from `{region}`, and there is still a next one");
    Err(Failure::new(observed).because(ELSEWHERE))
}

/// Compares a walk over a table that stood still with everybody who should be on it.
pub fn same(expected: &[Listed], listed: &[Listed], what: &str) -> Result<(), Failure> {
    if expected == listed {
        return Ok(());
    }
    let ids = |users: &[Listed]| -> HashSet<i64> { users.iter().map(|user| user.id).collect() };
    let (wanted, got) = (ids(expected), ids(listed));
    let missing: Vec<&Listed> = expected.iter().filter(|user| !got.contains(&user.id)).collect();
    let at = expected
        .iter()
        .zip(listed)
        .position(|(one, other)| one != other)
        .unwrap_or(0);
    let told = format!(
        "{what}: {} users listed, {} expected",
        listed.len(),
        expected.len()
    );
    if listed.len() > got.len() {
        let observed = format!("{told}; {} of them again", listed.len() - got.len());
        return Err(Failure::new(observed).because(ELSEWHERE));
    }
    let place = |user: &Listed| (user.moment_us, user.id);
    if let Some(wrong) = listed.windows(2).find(|pair| place(&pair[0]) < place(&pair[1])) {
        let observed = format!("{what}: user {} came before user {}", wrong[0].id, wrong[1].id);
        let shown = wrong.iter().map(|user| format!("{user:?}"));
        return Err(shown.fold(Failure::new(observed).because(ORDER), Failure::evidence));
    }
    if let Some(first) = missing.first() {
        let tied = expected
            .iter()
            .any(|user| user.id != first.id && user.moment_us == first.moment_us);
        let failure = Failure::new(format!(
            "{told}; {} missing, the first is {}",
            missing.len(),
            first.id
        ));
        return Err(failure.because(if tied { SKIPPED } else { ELSEWHERE }));
    }
    if got.len() > wanted.len() {
        let observed = format!("{told}; {} do not belong there", got.len() - wanted.len());
        return Err(Failure::new(observed).because(OTHERS));
    }
    let (want, have) = (&expected[at], &listed[at]);
    Err(Failure::new(format!(
        "{what}: user {} is shown otherwise than in the table",
        want.id
    ))
    .because(CHANGED)
    .evidence(format!("in the table {want:?}"))
    .evidence(format!("listed       {have:?}")))
}

/// Compares a walk during which others came and went with those who were active from its first page to its last.
pub fn whole(constant: &[Listed], listed: &[Listed], what: &str) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    if let Some(twice) = listed.iter().find(|user| !seen.insert(user.id)) {
        let times = listed.iter().filter(|user| user.id == twice.id).count();
        return Err(
            Failure::new(format!("{what}: user {} was listed {times} times", twice.id)).because(SHIFTED),
        );
    }
    let missing: Vec<i64> = constant
        .iter()
        .map(|user| user.id)
        .filter(|id| !seen.contains(id))
        .collect();
    if let Some(first) = missing.first() {
        let observed = format!(
            "{what}: {} users were never listed, the first is {first}",
            missing.len()
        );
        return Err(Failure::new(observed).because(SHIFTED));
    }
    Ok(())
}
