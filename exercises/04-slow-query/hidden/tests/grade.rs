//! The hidden checks of "The Slow Query". What each promises stands in scenario.toml, in the order of this file.

use std::collections::BTreeSet;

use harness::{Check, OrObserved, Spec, check, ensure};
use slow_query_hidden::cost::{Bill, Call, EXECUTIONS};
use slow_query_hidden::deploy::Deploy;
use slow_query_hidden::listing::{STALE, page, same, shows, walk, whole};
use slow_query_hidden::ordeal;
use slow_query_hidden::stage::{INDEX_OF_OURS, Listed, Stage};
use slow_query_hidden::subject::{Error, Status};
use slow_query_hidden::traffic::{REGIONS, addresses, ids, moderate};

/// Users of the small table: more than a hundred active ones in each region, and milliseconds to build an index on.
const SMALL: u32 = 20_000;

/// Users of the table that deploys are tried on.
const TINY: u32 = 2_000;

#[test]
fn every_active_user_is_listed_newest_first() {
    check!(Spec::default().deadline_s(60), async |cx: &Check| {
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
    check!(Spec::default().deadline_s(60), async |cx: &Check| {
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
    check!(Spec::default().deadline_s(60), async |cx: &Check| {
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

#[test]
fn addresses_match_whole_and_in_any_case() {
    check!(Spec::default().deadline_s(60), async |cx: &Check| {
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
                let found = directory
                    .find_by_email(&asked)
                    .await
                    .or_observed("find_by_email failed")?;
                ensure!(
                    found.as_ref().is_some_and(|user| user.id == id),
                    "Letters are compared without regard to case, on both sides.",
                    "`{asked}` found {found:?}; user {id} has `{address}`"
                );
            }
        }
        stage.sign_up("eu", "twin@example.com").await?;
        stage.sign_up("us", "Twin@Example.com").await?;
        let found = directory
            .find_by_email("TWIN@example.com")
            .await
            .or_observed("find_by_email failed")?;
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
            let found = directory
                .find_by_email(asked)
                .await
                .or_observed("find_by_email failed")?;
            ensure!(
                found.is_none(),
                "Whole addresses are compared: LIKE and ILIKE read `_` and `%` as wildcards.",
                "`{asked}`, which nobody has, found {found:?}"
            );
        }
        Ok(())
    });
}

#[test]
fn sign_ups_go_on_during_a_deploy() {
    check!(Spec::default().deadline_s(60), async |cx: &Check| {
        let mut stage = Stage::small(cx, TINY).await?;
        ordeal::while_people_sign_up(cx, &mut stage).await?;
        ordeal::all_valid(&mut stage, "the deploy").await
    });
}

#[test]
fn a_killed_deploy_can_be_run_again() {
    check!(Spec::default().deadline_s(60), async |cx: &Check| {
        let mut stage = Stage::small(cx, TINY).await?;
        stage.migrate().await?;
        let undisturbed = stage.indices().await?;

        stage.restore(TINY).await?;
        ordeal::killed_at_every_wait(cx, &mut stage).await?;
        for run in ["the deploy after the kills", "one more deploy"] {
            let outcome = Deploy::start(&stage)?.end().await?;
            outcome.or_observed(format_args!("{run} failed"))?;
            ordeal::all_valid(&mut stage, run).await?;
            let now = stage.indices().await?;
            ensure!(
                now == undisturbed,
                "An index that was cleared away has to be built again, although its migration counts as done.",
                "{run} left other indices than a deploy that nobody disturbed: {now:?}"
            );
        }
        Ok(())
    });
}

#[test]
fn no_index_is_kept_without_a_reader() {
    check!(Spec::default().deadline_s(60), async |cx: &Check| {
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
    check!(Spec::default().deadline_s(180), async |cx: &Check| {
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

        let (emails, ids) = (addresses(cx, &mut stage).await?, ids(cx, EXECUTIONS + 1));
        let mut bill = Bill::new(cx, &mut stage, &directory);
        bill.blocks("first_page_blocks", Call::Page { region, after: None }, 200)
            .await?;
        bill.blocks(
            "page_51_blocks",
            Call::Page {
                region,
                after: Some(&deep),
            },
            200,
        )
        .await?;
        bill.blocks("count_blocks", Call::Count { region }, 500).await?;
        bill.blocks("address_blocks", Call::Address { emails: &emails }, 50)
            .await?;
        bill.statements(
            "call_statements",
            &[Call::Status { ids: &ids }, Call::Bio { ids: &ids }],
        )
        .await?;
        Ok(())
    });
}

#[test]
fn updates_land_on_the_grown_table() {
    check!(Spec::default().deadline_s(180), async |cx: &Check| {
        let mut stage = Stage::grown(cx).await?;
        stage.migrate().await?;
        stage.vacuum().await?;
        let mut indices = stage.pg.sizes().await?;
        indices.retain(|relation| relation.index_of.is_some());
        let directory = stage.replica(1).await?;

        let ids = ids(cx, 500);
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
        let told = written.iter().map(|write| {
            format!(
                "{}: {} entries for {} updates",
                write.index,
                write.entries,
                ids.len()
            )
        });
        cx.explain(
            "index_entries_per_update",
            "Each index is one more entry for every update; keep those that a statement uses.",
            told,
        );
        let bytes: u64 = indices.iter().map(|index| index.size_bytes).sum();
        cx.measure("index_mb", bytes as f64 / 1e6);
        let told = indices
            .iter()
            .map(|index| format!("{}: {:.1} MB", index.name, index.size_bytes as f64 / 1e6));
        cx.explain(
            "index_mb",
            "Reads are fast and every write pays for it: what an index covers is stored and written twice.",
            told,
        );
        Ok(())
    });
}
