//! The hidden checks of "The Slow Query". What each promises stands in scenario.toml, in the order of this file.

use std::collections::BTreeSet;

use harness::{Check, Failure, OrObserved, check, ensure};
use slow_query_hidden::cost::{self, Cost};
use slow_query_hidden::deploy::{Deploy, Step, Writer};
use slow_query_hidden::listing::{page, same, walk, whole};
use slow_query_hidden::stage::{Listed, Stage};
use slow_query_hidden::subject::{Directory, Error, Status, User};
use slow_query_hidden::traffic::{REGIONS, moderate};

/// Users of the small table: more than a hundred active ones in each region, and milliseconds to build an index on.
const SMALL: u32 = 20_000;

/// Users of the table that deploys are tried on.
const TINY: u32 = 2_000;

/// Users of the seed.
const GROWN: i64 = 500_000;

#[test]
fn every_active_user_is_listed_newest_first() {
    check!(async |cx: &Check| {
        let mut stage = Stage::small(cx, SMALL).await?;
        stage.migrate().await?;
        let (one, other) = (stage.replica(2).await?, stage.replica(2).await?);
        let limit = cx.draw("page size", &[23, 37, 50, 64]);
        for region in REGIONS {
            let expected = stage.active(region).await?;
            let listed = walk(&[&one, &other], region, limit, async |_| Ok(())).await?;
            same(&expected, &listed, &format!("`{region}` in pages of {limit}"))?;
            // Pages that end in the middle of a shared moment.
            let tied = (1..expected.len()).filter(|&n| expected[n - 1].moment_us == expected[n].moment_us);
            for n in tied.step_by(5) {
                let first = u32::try_from(n).unwrap_or(u32::MAX);
                let (mut listed, next) = page(&one, region, None, first).await?;
                listed.extend(page(&other, region, next, 20).await?.0);
                let until = expected.len().min(n + 20);
                same(
                    &expected[..until],
                    &listed,
                    &format!("`{region}`, {n} users and then 20"),
                )?;
            }
        }
        let (nobody, _) = page(&one, "EU", None, 10).await?;
        ensure!(
            nobody.is_empty(),
            "Regions are compared as they are.",
            "{} users in region `EU`",
            nobody.len()
        );
        Ok(())
    });
}

#[test]
fn a_walk_stays_whole_while_people_come_and_go() {
    check!(async |cx: &Check| {
        let mut stage = Stage::small(cx, SMALL).await?;
        stage.migrate().await?;
        let (one, other) = (stage.replica(2).await?, stage.replica(2).await?);
        let limit = cx.draw("page size", &[23, 37, 50]);
        let mut coming = stage.pg.admin().await?;

        let constant = stage.active("eu").await?;
        let mut sign_ups = 0;
        let listed = walk(&[&one, &other], "eu", limit, async |_| {
            for _ in 0..3 {
                sign_ups += 1;
                stage
                    .sign_up("eu", &format!("newcomer{sign_ups}@example.org"))
                    .await?;
            }
            Ok(())
        })
        .await?;
        whole(&constant, &listed, "people signed up between the pages")?;

        let constant = stage.active("apac").await?;
        let listed = walk(&[&one, &other], "apac", limit, async |listed: &[Listed]| {
            // Among those who leave is the very user whom the cursor was taken from.
            for user in listed.iter().rev().take(3) {
                coming
                    .execute(&moderate(user.id, "suspended"))
                    .await
                    .or_observed("moderation failed")?;
            }
            Ok(())
        })
        .await?;
        whole(
            &constant,
            &listed,
            "people who had been listed were suspended between the pages",
        )
    });
}

#[test]
fn changes_show_in_the_next_call() {
    check!(async |cx: &Check| {
        let mut stage = Stage::small(cx, TINY).await?;
        stage.migrate().await?;
        let (one, other) = (stage.replica(2).await?, stage.replica(2).await?);
        let replicas = [&one, &other];
        let region = cx.draw("region", &REGIONS);
        shows(&mut stage, &replicas, region, "nothing").await?;

        let of = |status: &str| {
            format!("SELECT id FROM users WHERE region = '{region}' AND status = '{status}' LIMIT 1")
        };
        let id: i64 = stage.ask_one(&of("pending")).await?;
        one.set_status(id, Status::Active)
            .await
            .or_observed("set_status failed")?;
        shows(&mut stage, &replicas, region, "set_status on one replica").await?;

        let id: i64 = stage.ask_one(&of("active")).await?;
        other
            .set_status(id, Status::Closed)
            .await
            .or_observed("set_status failed")?;
        shows(&mut stage, &replicas, region, "set_status on the other replica").await?;

        let id = stage.sign_up(region, "fresh@example.org").await?;
        shows(&mut stage, &replicas, region, "a sign-up").await?;
        stage.ask(&moderate(id, "suspended")).await?;
        shows(&mut stage, &replicas, region, "moderation").await?;

        one.set_bio(id, "Moved on.").await.or_observed("set_bio failed")?;
        for replica in replicas {
            let found = replica
                .find_by_email("Fresh@example.org")
                .await
                .or_observed("find_by_email failed")?;
            let found = found.or_observed("a user who has just signed up was not found by address")?;
            ensure!(
                (found.id, found.status, found.bio.as_str()) == (id, Status::Suspended, "Moved on."),
                STALE,
                "after a sign-up, a suspension and a new bio the user is found as {found:?}"
            );
        }
        let nobody = one.set_bio(i64::MAX, "Nobody.").await;
        ensure!(
            matches!(nobody, Err(Error::UnknownUser(i64::MAX))),
            "A change of nobody is an error of its own.",
            "set_bio of an unknown user answered {nobody:?}"
        );
        Ok(())
    });
}

const STALE: &str =
    "An answer that was kept, in memory or in a materialized view, does not know what others have written.";

/// Every replica lists and counts what is in the table.
async fn shows(stage: &mut Stage, replicas: &[&Directory], region: &str, after: &str) -> Result<(), Failure> {
    let expected = stage.active(region).await?;
    for replica in replicas {
        let (listed, _) = page(replica, region, None, 5_000).await?;
        ensure!(
            listed == expected,
            STALE,
            "after {after} {} users are listed in `{region}`, {} are active",
            listed.len(),
            expected.len()
        );
        let (first, _) = page(replica, region, None, 5).await?;
        ensure!(
            first == expected[..5],
            STALE,
            "after {after} the first five of `{region}` are others"
        );
        let count = replica
            .count_active(region)
            .await
            .or_observed("count_active failed")?;
        ensure!(
            usize::try_from(count) == Ok(expected.len()),
            STALE,
            "after {after} {count} users are counted in `{region}`, {} are active",
            expected.len()
        );
    }
    Ok(())
}

#[test]
fn addresses_match_whole_and_in_any_case() {
    check!(async |cx: &Check| {
        let mut stage = Stage::small(cx, TINY).await?;
        stage.migrate().await?;
        let directory = stage.replica(2).await?;
        let mut rng = cx.rng("capitals");
        for address in [
            "Ann.Lee+Tag@Example.com",
            "snakeXcase@example.com",
            "100percent@example.com",
            "Q@Sub.Example.org",
        ] {
            let id = stage.sign_up("eu", address).await?;
            let mixed: String = address
                .chars()
                .map(|c| {
                    if rng.bool() {
                        c.to_ascii_uppercase()
                    } else {
                        c.to_ascii_lowercase()
                    }
                })
                .collect();
            for asked in [
                address.to_owned(),
                address.to_uppercase(),
                address.to_lowercase(),
                mixed,
            ] {
                let found = find(&directory, &asked).await?;
                ensure!(
                    found.as_ref().is_some_and(|user| user.id == id),
                    "Letters are compared without regard to case, on both sides.",
                    "`{asked}` found {found:?}; user {id} has `{address}`"
                );
            }
        }
        stage.sign_up("eu", "twin@example.com").await?;
        stage.sign_up("us", "Twin@Example.com").await?;
        let found = find(&directory, "TWIN@example.com").await?;
        ensure!(
            found
                .as_ref()
                .is_some_and(|user| user.email.eq_ignore_ascii_case("twin@example.com")),
            "Addresses are not unique; any user who has it will do.",
            "`TWIN@example.com`, of which there are two, found {found:?}"
        );
        for asked in [
            "snake_case@example.com",
            "%percent@example.com",
            "ann.lee+tag@example.co",
            "%",
            "",
            " twin@example.com",
        ] {
            let found = find(&directory, asked).await?;
            ensure!(
                found.is_none(),
                "Whole addresses are compared: LIKE and ILIKE read `_` and `%` as wildcards.",
                "`{asked}`, which nobody has, found {found:?}"
            );
        }
        Ok(())
    });
}

async fn find(directory: &Directory, address: &str) -> Result<Option<User>, Failure> {
    directory
        .find_by_email(address)
        .await
        .or_observed("find_by_email failed")
}

#[test]
fn sign_ups_go_on_during_a_deploy() {
    check!(async |cx: &Check| {
        let mut stage = Stage::small(cx, TINY).await?;
        let mut open = Writer::open(&stage, "writer0@example.org")
            .await?
            .or_observed("the first writer had to wait")?;
        let mut deploy = Deploy::start(&stage)?;
        for n in 1..=STEPS_MAX {
            let step = deploy.next_step(&mut stage, &open).await?;
            cx.note(format!("{step:?}"));
            if let Step::Ended(_) = step {
                break;
            }
            // The next writer comes before the one that the deploy waits for has gone.
            let Some(next) = Writer::open(&stage, &format!("writer{n}@example.org")).await? else {
                return Err(stood_still(&step));
            };
            open.commit().await?;
            open = next;
            if !matches!(step, Step::Aside { .. }) {
                break;
            }
        }
        open.commit().await?;
        deploy
            .end()
            .await?
            .or_observed("migrate failed while people signed up")?;
        let invalid = invalid_indices(&mut stage).await?;
        ensure!(
            invalid.is_empty(),
            INVALID,
            "after the deploy these indices are invalid: {invalid:?}"
        );
        Ok(())
    });
}

/// More waits than any deploy has; after them it is let on in one go.
const STEPS_MAX: u32 = 40;

fn stood_still(step: &Step) -> Failure {
    let statement = match step {
        Step::InLine { statement } | Step::Aside { statement } => statement.as_str(),
        _ => "a statement that had given up once",
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

#[test]
fn a_killed_deploy_can_be_run_again() {
    check!(async |cx: &Check| {
        let mut stage = Stage::small(cx, TINY).await?;
        stage.migrate().await?;
        let undisturbed = indices(&mut stage).await?;

        stage.restore(TINY).await?;
        for kill in 1..=KILLS_MAX {
            if !killed_at_wait(cx, &mut stage, kill).await? {
                break;
            }
        }
        for again in ["after a kill", "once more"] {
            let outcome = Deploy::start(&stage)?.end().await?;
            outcome.map_err(|error| {
                Failure::new(format!("migrate, run {again}, failed: {error}")).because(
                    "CREATE INDEX CONCURRENTLY is not transactional: a killed one leaves its name behind, on an invalid index.",
                )
            })?;
            let invalid = invalid_indices(&mut stage).await?;
            ensure!(
                invalid.is_empty(),
                INVALID,
                "migrate, run {again}, succeeded and left {invalid:?} invalid"
            );
            let now = indices(&mut stage).await?;
            ensure!(
                now == undisturbed,
                "An index that was cleared away has to be built again, although its migration counts as done.",
                "migrate, run {again}, left other indices than a deploy that nobody disturbed"
            );
        }
        Ok(())
    });
}

/// More kills than any deploy has places for.
const KILLS_MAX: u32 = 24;

const INVALID: &str = "A killed CREATE INDEX CONCURRENTLY leaves an invalid index, and IF NOT EXISTS takes it for done: it is \
                       paid for by every write and used by no query.";

/// Starts a deploy and kills it when it waits for the `wait`-th time; false when it ended before.
async fn killed_at_wait(cx: &Check, stage: &mut Stage, wait: u32) -> Result<bool, Failure> {
    let writer = |n| format!("writer{wait}.{n}@example.org");
    let mut open = Writer::open(stage, &writer(0))
        .await?
        .or_observed("the first writer had to wait")?;
    let mut deploy = Deploy::start(stage)?;
    for n in 1..=wait {
        let step = deploy.next_step(stage, &open).await?;
        if let Step::Ended(outcome) = step {
            open.commit().await?;
            outcome.or_observed("migrate failed when it was run after a kill")?;
            return Ok(false);
        }
        if n == wait {
            cx.note(format!("kill {wait}: {step:?}"));
            deploy.kill(stage).await?;
            open.commit().await?;
            return Ok(true);
        }
        if !matches!(step, Step::Aside { .. }) {
            break;
        }
        let next = Writer::open(stage, &writer(n))
            .await?
            .or_observed("a writer had to wait")?;
        open.commit().await?;
        open = next;
    }
    open.commit().await?;
    deploy
        .end()
        .await?
        .or_observed("migrate failed when it was run after a kill")?;
    Ok(false)
}

const INDEX_OF_OURS: &str = "FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                             WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

async fn invalid_indices(stage: &mut Stage) -> Result<Vec<String>, Failure> {
    let sql = format!("SELECT i.indexrelid::regclass {INDEX_OF_OURS} AND NOT (indisvalid AND indisready)");
    let rows = stage.ask(&sql).await?;
    Ok(rows
        .iter()
        .filter_map(|row| row.text(0).map(str::to_owned))
        .collect())
}

/// What every index is on, whatever it is called.
async fn indices(stage: &mut Stage) -> Result<Vec<String>, Failure> {
    let sql = format!(
        "SELECT regexp_replace(pg_get_indexdef(i.indexrelid), 'INDEX .* ON ', 'INDEX ON ') AS definition {INDEX_OF_OURS} ORDER BY 1"
    );
    let rows = stage.ask(&sql).await?;
    Ok(rows
        .iter()
        .filter_map(|row| row.text(0).map(str::to_owned))
        .collect())
}

#[test]
fn no_index_is_kept_without_a_reader() {
    check!(async |cx: &Check| {
        let mut stage = Stage::small(cx, TINY).await?;
        stage.migrate().await?;
        let sql = format!(
            "SELECT DISTINCT i.indexrelid::regclass {INDEX_OF_OURS} AND EXISTS (SELECT FROM pg_attribute a \
             WHERE a.attrelid = i.indrelid AND a.attname = 'verified' AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))"
        );
        let rows = stage.ask(&sql).await?;
        let kept: BTreeSet<&str> = rows.iter().filter_map(|row| row.text(0)).collect();
        ensure!(
            kept.is_empty(),
            "Half of the table matches; an index on a boolean cannot pay, and every write pays for it. What production has \
             goes away by a migration that drops it.",
            "after the deploy `verified` is still indexed, by {kept:?}"
        );
        Ok(())
    });
}

#[test]
fn lookups_answer_on_the_grown_table() {
    check!(async |cx: &Check| {
        let mut stage = Stage::grown(cx).await?;
        stage.migrate().await?;
        stage.vacuum().await?;
        let directory = stage.replica(1).await?;
        let region = cx.draw("region", &REGIONS);
        let expected = stage.active(region).await?;

        let (first, _) = page(&directory, region, None, 50).await?;
        same(&expected[..50], &first, "the first page of 50")?;
        let (_, deep) = page(&directory, region, None, 2_500).await?;
        let deep = deep.or_observed("after 2500 users of a region there was no next page")?;
        let (page_51, _) = page(&directory, region, Some(deep.clone()), 50).await?;
        same(&expected[2_500..2_550], &page_51, "page 51 of 50")?;
        let count = directory
            .count_active(region)
            .await
            .or_observed("count_active failed")?;
        ensure!(
            count == expected.len() as i64,
            "The count is exact.",
            "{count} counted, {} active",
            expected.len()
        );

        let first_page = cost::of_calls(&stage, BLOCKS_PAGE, async |_| {
            directory.list_active(region, None, 50).await
        })
        .await?;
        let page_51 = cost::of_calls(&stage, BLOCKS_PAGE, async |_| {
            directory.list_active(region, Some(deep.clone()), 50).await
        })
        .await?;
        let count = cost::of_calls(&stage, BLOCKS_COUNT, async |_| {
            directory.count_active(region).await
        })
        .await?;
        let addresses = addresses(cx, &mut stage).await?;
        let address = cost::of_calls(&stage, BLOCKS_ADDRESS, async |n| {
            directory.find_by_email(&addresses[n as usize]).await
        })
        .await?;
        let status = cost::of_calls(&stage, u64::MAX, async |n| {
            let status = if n % 2 == 0 {
                Status::Active
            } else {
                Status::Pending
            };
            directory.set_status(expected[n as usize].id, status).await
        })
        .await?;
        let bio = cost::of_calls(&stage, u64::MAX, async |n| {
            directory
                .set_bio(expected[n as usize].id, "Here since the beginning.")
                .await
        })
        .await?;

        cx.measure("first_page_blocks", first_page.blocks as f64);
        cx.measure("page_51_blocks", page_51.blocks as f64);
        cx.measure("count_blocks", count.blocks as f64);
        cx.measure("address_blocks", address.blocks as f64);
        let statements = [first_page, page_51, count, address, status, bio].map(|cost: Cost| cost.statements);
        cx.measure(
            "call_statements",
            statements.into_iter().max().unwrap_or(0) as f64,
        );
        Ok(())
    });
}

const BLOCKS_PAGE: u64 = 200;
const BLOCKS_COUNT: u64 = 60;
const BLOCKS_ADDRESS: u64 = 20;

/// Addresses to look up: every other one is nobody's.
async fn addresses(cx: &Check, stage: &mut Stage) -> Result<Vec<String>, Failure> {
    let mut rng = cx.rng("addresses");
    let mut addresses = Vec::new();
    for n in 0..=cost::EXECUTIONS {
        let id = rng.i64(1..=GROWN);
        let email: String = stage
            .ask_one(&format!("SELECT upper(email) FROM users WHERE id = {id}"))
            .await?;
        addresses.push(if n % 2 == 0 { email } else { format!("no.{email}") });
    }
    Ok(addresses)
}

#[test]
fn updates_land_on_the_grown_table() {
    check!(async |cx: &Check| {
        let mut stage = Stage::grown(cx).await?;
        stage.migrate().await?;
        stage.vacuum().await?;
        let indices_bytes: u64 = stage
            .pg
            .sizes()
            .await?
            .iter()
            .filter(|relation| relation.index_of.is_some())
            .map(|relation| relation.size_bytes)
            .sum();
        let directory = stage.replica(1).await?;

        let mut rng = cx.rng("users");
        let mut ids = BTreeSet::new();
        while ids.len() < 500 {
            ids.insert(rng.i64(1..=GROWN));
        }
        let mut writes = stage.pg.index_writes().await?;
        // Longer than what it replaces, so that hardly any page has room for it: an update that stays on its page leaves
        // the indices alone.
        let bio = format!(
            "Moved to another town in run {:020} and took the bicycle, the cat, the old maps, the bread oven, the collection \
             of timetables and three of the four chairs along.",
            cx.seed()
        );
        for &id in &ids {
            directory.set_bio(id, &bio).await.or_observed("set_bio failed")?;
        }
        let written = writes.read().await?;
        let landed: usize = stage
            .ask_one(&format!("SELECT count(*) FROM users WHERE bio = '{bio}'"))
            .await?;
        ensure!(
            landed == ids.len(),
            "A change is a change of one user.",
            "500 bios were set, {landed} landed"
        );

        let entries: u64 = written.iter().map(|write| write.entries).sum();
        cx.measure("index_entries_per_update", entries as f64 / ids.len() as f64);
        cx.measure("index_mb", indices_bytes as f64 / 1e6);
        Ok(())
    });
}
