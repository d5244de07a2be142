//! The hidden checks of "The Slow Query". What each promises stands in scenario.toml, in the order of this file.

use harness::{Check, Spec, check, ensure};
use slow_query_hidden::stage::Stage;
use slow_query_hidden::{addresses, freshness, lookups, neighbours, ordeal, updates, walks};

/// Users of the small table: more than a hundred active ones in each region, and milliseconds to build an index on.
const SMALL: u32 = 20_000;

/// Users of the table where it is about what happens to one of them.
const TINY: u32 = 2_000;

/// Liveness only.
const SMALL_S: u64 = 90;
const KILLS_S: u64 = 180;
const GROWN_S: u64 = 300;

#[test]
fn every_active_user_is_listed_newest_first() {
    check!(Spec::default().deadline_s(SMALL_S), async |cx: &Check| {
        let mut stage = Stage::deployed(cx, SMALL).await?;
        walks::list_everybody(cx, &mut stage).await
    });
}

#[test]
fn a_walk_stays_whole_while_people_come_and_go() {
    check!(Spec::default().deadline_s(SMALL_S), async |cx: &Check| {
        let mut stage = Stage::deployed(cx, SMALL).await?;
        walks::stay_whole(cx, &mut stage).await
    });
}

#[test]
fn changes_show_in_the_next_call() {
    check!(Spec::default().deadline_s(SMALL_S), async |cx: &Check| {
        let mut stage = Stage::deployed(cx, TINY).await?;
        freshness::changes_show(cx, &mut stage).await
    });
}

#[test]
fn addresses_match_whole_and_in_any_case() {
    check!(Spec::default().deadline_s(SMALL_S), async |cx: &Check| {
        let mut stage = Stage::deployed(cx, TINY).await?;
        addresses::match_whole_and_in_any_case(cx, &mut stage).await
    });
}

#[test]
fn writers_do_not_wait_for_each_other() {
    check!(Spec::default().deadline_s(SMALL_S), async |cx: &Check| {
        let mut stage = Stage::deployed(cx, TINY).await?;
        neighbours::pass_each_other(cx, &mut stage).await
    });
}

#[test]
fn sign_ups_go_on_during_a_deploy() {
    check!(Spec::default().deadline_s(SMALL_S), async |cx: &Check| {
        let mut stage = Stage::small(cx, TINY).await?;
        ordeal::while_people_sign_up(cx, &mut stage).await?;
        ordeal::all_valid(&mut stage, "the deploy").await
    });
}

#[test]
fn a_killed_deploy_can_be_run_again() {
    check!(Spec::default().deadline_s(KILLS_S), async |cx: &Check| {
        let mut stage = Stage::deployed(cx, SMALL).await?;
        let undisturbed = ordeal::price_list(&mut stage).await?;
        stage.restore(SMALL).await?;
        ordeal::killed_at_every_moment(cx, &mut stage).await?;
        ordeal::recovers(&mut stage, &undisturbed).await
    });
}

#[test]
fn no_index_is_kept_without_a_reader() {
    check!(Spec::default().deadline_s(SMALL_S), async |cx: &Check| {
        let mut stage = Stage::deployed(cx, TINY).await?;
        let kept = stage.indices_on("verified").await?;
        ensure!(
            kept.is_empty(),
            "Half of the table matches; an index on a boolean cannot pay, and every write pays for it. What production has \
             goes away by a migration that drops it.",
            "after the deploy `verified` is still indexed: {}",
            kept.join("; ")
        );
        Ok(())
    });
}

#[test]
fn lookups_answer_on_the_grown_table() {
    check!(Spec::default().deadline_s(GROWN_S), async |cx: &Check| {
        lookups::on_the_grown_table(cx).await
    });
}

#[test]
fn updates_land_on_the_grown_table() {
    check!(Spec::default().deadline_s(GROWN_S), async |cx: &Check| {
        updates::on_the_grown_table(cx).await
    });
}
