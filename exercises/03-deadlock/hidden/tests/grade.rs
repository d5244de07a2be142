//! The hidden checks of "The Deadlock". What each promises stands in scenario.toml, in the order of this file.

#![expect(
    clippy::unneeded_struct_pattern,
    reason = "a fix may give the variants of `BankError` fields, or take them away"
)]

#[path = "grade/closing.rs"]
mod closing;
#[path = "grade/gone.rs"]
mod gone;
#[path = "grade/interrupted.rs"]
mod interrupted;
#[path = "grade/late.rs"]
mod late;
#[path = "grade/opposing.rs"]
mod opposing;
#[path = "grade/pool.rs"]
mod pool;
#[path = "grade/statements.rs"]
mod statements;
#[path = "grade/stuck.rs"]
mod stuck;
#[path = "grade/totals.rs"]
mod totals;

use harness::{Check, Spec, check};

/// On both runtimes. Something happens every few milliseconds; a check in which nothing does for this long is stuck.
fn both() -> Spec {
    Spec::both_runtimes().stalls_after_s(6).deadline_s(120)
}

#[test]
fn opposing_transfers_all_succeed() {
    check!(both(), async |cx: &Check| opposing::all_succeed(cx).await);
}

#[test]
fn statements_are_whole_while_money_moves() {
    check!(both(), async |cx: &Check| statements::are_whole(cx).await);
}

#[test]
fn an_account_opened_today_is_an_account() {
    check!(both(), async |cx: &Check| late::is_an_account(cx).await);
}

#[test]
fn closings_go_on_after_refusals() {
    check!(both(), async |cx: &Check| closing::goes_on(cx).await);
}

#[test]
fn a_caller_who_goes_away_leaves_no_trace() {
    check!(both(), async |cx: &Check| interrupted::abort(cx).await);
}

#[test]
fn a_lost_message_moves_money_once_or_not_at_all() {
    check!(both(), async |cx: &Check| interrupted::cut(cx).await);
}

#[test]
fn a_small_pool_serves_a_crowd() {
    check!(both(), async |cx: &Check| pool::serves_a_crowd(cx).await);
}

#[test]
fn health_answers_while_the_database_is_stuck() {
    check!(both(), async |cx: &Check| stuck::health_answers(cx).await);
}

#[test]
fn not_a_cent_is_lost() {
    check!(both(), async |cx: &Check| totals::add_up(cx).await);
}

#[test]
fn callers_who_give_up_leave_nothing_behind() {
    check!(
        Spec::multi_thread(2).stalls_after_s(6).deadline_s(120),
        async |cx: &Check| gone::leaves_nothing(cx).await
    );
}
