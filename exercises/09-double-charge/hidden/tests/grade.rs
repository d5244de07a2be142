//! The hidden checks, as a table of contents. Each stands, with its reasons, in the module that is named.

#![expect(
    clippy::unneeded_struct_pattern,
    reason = "a fix may give the variants of `PayError` fields, or take them away"
)]

#[path = "grade/answers.rs"]
mod answers;
#[path = "grade/duplicates.rs"]
mod duplicates;
#[path = "grade/faults.rs"]
mod faults;
#[path = "grade/hang_ups.rs"]
mod hang_ups;
#[path = "grade/keys.rs"]
mod keys;
#[path = "grade/leases.rs"]
mod leases;
#[path = "grade/outcomes.rs"]
mod outcomes;
#[path = "grade/retention.rs"]
mod retention;
#[path = "grade/slow.rs"]
mod slow;
#[path = "grade/waiting.rs"]
mod waiting;

use harness::{Spec, check};

#[test]
fn a_repeated_request_gets_the_first_answer() {
    check!(answers::repeated);
}

#[test]
fn a_declined_payment_stays_declined() {
    check!(answers::declined);
}

#[test]
fn an_invalid_request_leaves_its_key_unused() {
    check!(keys::invalid);
}

#[test]
fn a_key_stands_for_one_request_of_one_merchant() {
    check!(keys::scoped);
}

#[test]
fn duplicates_at_once_charge_once() {
    check!(duplicates::at_once);
}

#[test]
fn payments_go_on_while_the_provider_is_slow() {
    check!(slow::provider);
}

#[test]
fn a_busy_provider_fails_no_payment() {
    check!(outcomes::busy);
}

#[test]
fn an_unknown_outcome_is_neither_success_nor_failure() {
    check!(Spec::default().deadline_s(40), outcomes::unknown);
}

#[test]
fn a_crash_anywhere_charges_once() {
    check!(Spec::default().deadline_s(40), faults::crash);
}

#[test]
fn a_lost_message_anywhere_charges_once() {
    check!(Spec::default().deadline_s(40), faults::cut);
}

#[test]
fn a_customer_who_hangs_up_is_charged_once() {
    check!(Spec::default().deadline_s(40), faults::hang_up);
}

#[test]
fn a_running_payment_is_left_to_its_attempt() {
    check!(leases::live);
}

#[test]
fn an_attempt_that_outlives_its_lease_changes_nothing() {
    check!(leases::outlived);
}

#[test]
fn purge_forgets_finished_payments_only() {
    check!(retention::purge);
}
