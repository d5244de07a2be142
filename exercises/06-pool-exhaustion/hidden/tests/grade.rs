//! The hidden checks, as a table of contents. Each stands, with its reasons, in the module that is named.

#![expect(
    clippy::unneeded_struct_pattern,
    reason = "a fix may give the variants of `OrderError` fields, or take them away"
)]

#[path = "grade/breaker.rs"]
mod breaker;
#[path = "grade/carrier.rs"]
mod carrier;
#[path = "grade/deadline.rs"]
mod deadline;
#[path = "grade/leaving.rs"]
mod leaving;
#[path = "grade/overload.rs"]
mod overload;
#[path = "grade/pooler.rs"]
mod pooler;
#[path = "grade/replicas.rs"]
mod replicas;

use harness::{Spec, check, replica};
use pool_exhaustion_hidden::fleet;

#[test]
fn every_replica_answers_with_what_was_asked_for() {
    if replica::is_one() {
        return fleet::serve();
    }
    check!(Spec::default().deadline_s(120), replicas::right);
}

#[test]
fn what_cannot_be_served_is_refused_at_once() {
    check!(overload::refused);
}

#[test]
fn nobody_waits_longer_than_the_configured_time() {
    check!(overload::waiting);
}

#[test]
fn stats_tell_what_the_replica_does() {
    check!(overload::stats);
}

#[test]
fn callers_that_go_away_give_their_place_back() {
    check!(leaving::places);
}

#[test]
fn a_call_given_up_anywhere_leaves_nothing_behind() {
    check!(Spec::default().deadline_s(120), leaving::anywhere);
}

#[test]
fn a_database_that_is_down_is_left_alone() {
    check!(Spec::default().deadline_s(40), breaker::left_alone);
}

#[test]
fn one_request_finds_out_whether_it_is_back() {
    check!(breaker::one_finds_out);
}

#[test]
fn a_caller_that_leaves_while_finding_out_is_followed_by_another() {
    check!(Spec::default().deadline_s(40), breaker::abandoned);
}

#[test]
fn an_answer_is_not_an_outage() {
    check!(breaker::answers);
}

#[test]
fn an_answer_from_before_changes_nothing() {
    check!(breaker::late);
}

#[test]
fn a_request_ends_at_its_deadline_here_and_in_the_database() {
    check!(Spec::default().deadline_s(40), deadline::blocked);
}

#[test]
fn a_connection_that_fell_silent_is_given_up() {
    check!(Spec::default().deadline_s(40), deadline::silent);
}

#[test]
fn rows_through_the_pooler_are_the_right_ones() {
    check!(Spec::default().deadline_s(120), pooler::values);
}

#[test]
fn every_client_of_the_pooler_gets_on() {
    check!(Spec::default().deadline_s(60), pooler::shared);
}

#[test]
fn a_deadline_holds_through_the_pooler() {
    check!(Spec::default().deadline_s(40), pooler::deadline);
}

#[test]
fn a_slow_carrier_holds_up_nobody_else() {
    check!(carrier::slow);
}
