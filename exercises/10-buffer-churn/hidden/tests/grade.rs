//! The hidden checks of `render`. What is counted is counted on threads that were there before; nothing is timed.

use harness::{Check, Spec, check};

#[path = "grade/bodies.rs"]
mod bodies;
#[path = "grade/burst.rs"]
mod burst;
#[path = "grade/clients.rs"]
mod clients;
#[path = "grade/cost.rs"]
mod cost;
#[path = "grade/failures.rs"]
mod failures;
#[path = "grade/meeting.rs"]
mod meeting;
#[path = "grade/nesting.rs"]
mod nesting;
#[path = "grade/standstill.rs"]
mod standstill;
#[path = "grade/thrift.rs"]
mod thrift;
#[path = "grade/tray.rs"]
mod tray;

macro_rules! checks {
    ($($name:ident => $body:path;)+) => {
        $(#[test]
        fn $name() {
            // Liveness only. Workers of their own, so that a body may block its thread while it waits for others.
            check!(Spec::multi_thread(2).deadline_s(120), async |cx: &Check| $body(cx).await);
        })+
    };
}

checks! {
    every_document_has_its_body => bodies::every_document;
    bodies_are_exact_on_every_thread => bodies::on_every_thread;
    a_short_body_after_a_long_one_is_its_own => bodies::short_after_long;
    typical_documents_are_rendered_on_many_threads => thrift::typical_documents;
    responses_in_flight_are_their_own => thrift::responses_in_flight;
    a_document_that_fails_leaves_nothing_behind => failures::refusals;
    a_panic_leaves_nothing_behind => failures::panics;
    errors_reach_the_caller => failures::errors;
    a_slow_client_gets_its_own_body => clients::slow;
    a_client_that_leaves_changes_nothing => clients::leaving;
    nobody_waits_for_slow_clients => clients::a_thousand;
    a_sink_may_render => nesting::nested;
    a_burst_is_over_when_it_is_over => burst::given_back;
}
