//! What a deploy is put through.

use std::collections::{HashMap, HashSet};

use harness::{Check, Failure, OrObserved, Outcome, ensure};

use crate::bill::{Bill, Call};
use crate::crowd::Crowd;
use crate::deploy::{Deploy, Step};
use crate::listing::page;
use crate::stage::Stage;

/// A statement that comes again so often in one deploy is trying to get past the writers, who make room then.
const TRIES: u32 = 3;

/// No deploy has more moments, unless its statements are others each time.
const KILLS_MAX: usize = 100;

/// What another layout of the same rows may make of a price; reading the whole table takes hundreds of blocks.
const SLACK_BLOCKS: u64 = 30;

/// How often the statistics are gathered anew before a price that is too high is believed.
const SAMPLES: u32 = 3;

/// What the sign-ups of the ordeal, and the order in which things were built, may add to the indices.
const SLACK_KB: u64 = 100;

/// A moment of a deploy at which it can be killed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Moment {
    /// The statement that ran last.
    after: String,
    /// The one that is about to run; nothing while it still runs, waiting for others.
    before: Option<String>,
    /// For how many it has waited.
    waits: u32,
}

/// The statements that take a table for themselves and give up when somebody is in the way.
type Retried = HashSet<String>;

/// Deploys while there is always a sign-up whose transaction is open, and another one coming.
pub async fn while_people_sign_up(cx: &Check, stage: &mut Stage) -> Outcome {
    let (mut deploy, mut crowd) = (Deploy::start(stage)?, Crowd::default());
    let ended = escort(cx, stage, &mut deploy, &mut crowd, &mut Retried::new(), |_| false).await?;
    crowd.leave().await?;
    match ended {
        Some(Err(error)) => Err(Failure::new(format!(
            "migrate failed while people signed up: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Deploys again and again, and kills each deploy at the first moment at which none was killed yet, until one gets
/// through. So each statement was the last one that had run, and each wait was cut short, once.
pub async fn killed_at_every_moment(cx: &Check, stage: &mut Stage) -> Outcome {
    let (mut killed_at, mut retried) = (HashSet::new(), Retried::new());
    loop {
        let (mut deploy, mut crowd) = (Deploy::start(stage)?, Crowd::default());
        let fresh = |moment: &Moment| killed_at.len() < KILLS_MAX && killed_at.insert(moment.clone());
        let ended = escort(cx, stage, &mut deploy, &mut crowd, &mut retried, fresh).await?;
        if ended.is_none() {
            deploy.kill(stage).await?;
        }
        // Not before: the deploy would have gone on.
        crowd.leave().await?;
        match ended {
            None => continue,
            Some(ended) => {
                let kills = killed_at.len();
                cx.note(format!("killed {kills} deploys before one that was let through"));
                return ended.map_err(|error| not_repeatable(&error));
            }
        }
    }
}

/// Lets a deploy on, statement by statement, with people signing up all the time: before each statement a transaction is
/// open, and where the statement waits for it the next one comes. Ends with the deploy's outcome, or with nothing at the
/// first moment at which `stop` says so.
async fn escort(
    cx: &Check,
    stage: &mut Stage,
    deploy: &mut Deploy,
    crowd: &mut Crowd,
    retried: &mut Retried,
    mut stop: impl FnMut(&Moment) -> bool,
) -> Result<Option<Result<(), String>>, Failure> {
    let mut tries: HashMap<String, u32> = HashMap::new();
    let (mut running, mut waits) = (String::new(), 0);
    loop {
        let step = deploy.next_step(stage, crowd.open()).await?;
        let before = match &step {
            Step::Ended(outcome) => return Ok(Some(outcome.clone())),
            Step::Before { statement } => Some(statement.clone()),
            _ => None,
        };
        waits = if before.is_some() { 0 } else { waits + 1 };
        let (after, stands) = (
            running.clone(),
            matches!(step, Step::InLine { .. } | Step::Looking),
        );
        if before.is_none() {
            cx.note(format!("{step:?}"));
        }
        // Whoever stands in the writers' way is judged before it is killed: some statements run after a kill only.
        if stands {
            retried.insert(after.clone());
            if !crowd.move_on(stage).await? {
                return Err(stood_still(&step));
            }
        }
        if stop(&Moment {
            after,
            before: before.clone(),
            waits,
        }) {
            return Ok(None);
        }
        if let Some(statement) = before {
            let tried = tries.entry(statement.clone()).or_default();
            *tried += 1;
            // A deploy that holds a table is on its way already: what it holds back then is not measured.
            let room = *tried > TRIES || retried.contains(&statement);
            if room || (crowd.open().is_none() && deploy.holds_a_table(stage).await?) {
                crowd.leave().await?;
            } else {
                crowd.come(stage).await?;
            }
            running = statement;
            deploy.let_on().await?;
            continue;
        }
        if stands {
            crowd.leave().await?;
        } else if !crowd.move_on(stage).await? {
            return Err(stood_still(&step));
        }
    }
}

/// Why a sign-up had to wait for more than a second.
fn stood_still(step: &Step) -> Failure {
    let statement = match step {
        Step::InLine { statement } | Step::Aside { statement } => statement.as_str(),
        _ => "a statement that looks for its chance",
    };
    let because = if statement.to_uppercase().contains("DROP INDEX") {
        "DROP INDEX needs the table to itself: it waits for the open transaction, and every writer queues behind it; use \
         CONCURRENTLY with `-- no-transaction`."
    } else if statement.to_uppercase().contains("CREATE INDEX") {
        "The SHARE lock queues every writer for the length of the build, and before that for as long as any transaction is \
         open; use CONCURRENTLY with `-- no-transaction`."
    } else {
        "Whoever waits for a table lock makes every writer wait behind it; wait for less than a second, give up, try again."
    };
    Failure::new(format!(
        "a sign-up waited for more than a second behind `{statement}`"
    ))
    .because(because)
}

fn not_repeatable(error: &str) -> Failure {
    Failure::new(format!("a deploy after a killed one failed: {error}")).because(
        "CREATE INDEX CONCURRENTLY is not transactional: a killed one leaves its name behind, on an invalid index, and one \
         that was killed just afterwards has built the index without having told anybody.",
    )
}

/// No index costs every write and serves no query.
pub async fn all_valid(stage: &mut Stage, after: &str) -> Outcome {
    let invalid = stage.invalid_indices().await?;
    ensure!(
        invalid.is_empty(),
        "A killed CREATE INDEX CONCURRENTLY leaves an invalid index, and IF NOT EXISTS takes it for done: it is paid for by \
         every write and used by no query.",
        "{after} succeeded and left {invalid:?} invalid"
    );
    Ok(())
}

/// What things cost on this table, as it is now.
#[derive(Debug)]
pub struct Prices {
    /// What is looked up, and the blocks that it takes.
    blocks: Vec<(&'static str, u64)>,
    /// All indices together.
    index_bytes: u64,
}

pub async fn price_list(stage: &mut Stage) -> Result<Prices, Failure> {
    const REGION: &str = "eu";
    stage.vacuum().await?;
    let directory = stage.replica(1).await?;
    let (users, next) = page(&directory, REGION, None, 50).await?;
    let emails: Vec<String> = users.into_iter().map(|user| user.email).collect();
    let page_after = |after| Call::Page {
        region: REGION,
        after,
    };
    let calls = [
        ("the first page", page_after(None)),
        ("the second page", page_after(next.as_ref())),
        ("the count", Call::Count { region: REGION }),
        ("an address", Call::Address { emails: &emails }),
    ];
    let (names, calls): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
    let blocks = Bill::new(stage, &directory).price_list(&calls).await?;
    let mut indices = stage.pg.sizes().await?;
    indices.retain(|relation| relation.index_of.is_some());
    Ok(Prices {
        blocks: names.into_iter().zip(blocks).collect(),
        index_bytes: indices.iter().map(|index| index.size_bytes).sum(),
    })
}

/// The most blocks that what took `undisturbed` may take after kills.
fn dearest(undisturbed: u64) -> u64 {
    2 * undisturbed + SLACK_BLOCKS
}

/// After the kills and one deploy that got through, everything works as after a deploy that nobody disturbed, and one
/// deploy more changes nothing.
pub async fn recovers(stage: &mut Stage, undisturbed: &Prices) -> Outcome {
    again(stage, "the deploy after the kills").await?;
    let schema = stage.schema().await?;
    // ANALYZE draws its sample anew each time: a plan that hangs on the draw is no trace of a killed deploy.
    let mut now = price_list(stage).await?;
    for _ in 1..SAMPLES {
        if now
            .blocks
            .iter()
            .zip(&undisturbed.blocks)
            .all(|((_, now), (_, before))| *now <= dearest(*before))
        {
            break;
        }
        now = price_list(stage).await?;
    }
    for ((what, now), (_, before)) in now.blocks.into_iter().zip(&undisturbed.blocks) {
        ensure!(
            now <= dearest(*before),
            "What a killed deploy leaves counts as done, or was cleared away and not built again.",
            "after killed deploys and one that succeeded {what} takes {now} blocks; after an undisturbed deploy {before}"
        );
    }
    let (now_kb, before_kb) = (now.index_bytes / 1000, undisturbed.index_bytes / 1000);
    ensure!(
        now_kb * 5 <= before_kb * 6 + 5 * SLACK_KB,
        "An index that was begun again under another name is there twice, and every write pays for both.",
        "after killed deploys and one that succeeded all indices take {now_kb} kB, after an undisturbed deploy {before_kb}: \
         {schema:?}"
    );
    again(stage, "one more deploy").await?;
    let after = stage.schema().await?;
    ensure!(
        after == schema,
        "A deploy that finds everything done leaves everything as it is.",
        "one more deploy changed the indices from {schema:?} to {after:?}"
    );
    Ok(())
}

async fn again(stage: &mut Stage, run: &str) -> Outcome {
    let outcome = Deploy::start(stage)?.end().await?;
    outcome.or_observed(format_args!("{run} failed"))?;
    all_valid(stage, run).await
}
