//! The hidden checks of `gatekeeper`. What it costs is told in allocations, polls and instructions; nothing is timed.

use harness::{Check, Spec, check};

#[path = "grade/answers.rs"]
mod answers;
#[path = "grade/batches.rs"]
mod batches;
#[path = "grade/costs.rs"]
mod costs;
#[path = "grade/hostile.rs"]
mod hostile;
#[path = "grade/observe.rs"]
mod observe;
#[path = "grade/reloads.rs"]
mod reloads;
#[path = "grade/replaced.rs"]
mod replaced;
#[path = "grade/streams.rs"]
mod streams;

macro_rules! checks {
    ($($name:ident: $spec:expr => $body:path;)+) => {
        $(#[test]
        fn $name() {
            // Liveness only: the broken code compiles a hundred thousand patterns, which a busy machine takes its time over.
            check!($spec.deadline_s(60), async |cx: &Check| $body(cx).await);
        })+
    };
}

checks! {
    events_come_out_as_they_went_in: Spec::current_thread() => answers::corpus;
    numbers_keep_their_value: Spec::current_thread() => answers::numbers;
    what_is_no_event_is_rejected: Spec::current_thread() => answers::rejections;
    what_was_written_before_is_left_alone: Spec::current_thread() => answers::appended;
    every_event_is_judged: Spec::current_thread() => costs::every_event;
    answers_do_not_depend_on_what_came_before: Spec::current_thread() => costs::warm;
    hostile_events_are_rejected: Spec::current_thread() => hostile::rejected;
    a_reload_is_seen_by_every_thread: Spec::multi_thread(2) => reloads::every_thread;
    a_refused_reload_changes_nothing: Spec::multi_thread(2) => reloads::refused;
    an_event_meets_one_rule_set: Spec::multi_thread(2) => reloads::one_set;
    pipelines_do_not_share_their_rules: Spec::current_thread() => reloads::independent;
    replaced_rules_are_given_back: Spec::current_thread() => replaced::given_back;
    a_batch_is_answered_in_order: Spec::multi_thread(2) => batches::in_order;
    a_batch_lets_others_run: Spec::current_thread() => batches::lets_others_run;
    a_stream_outlives_its_configuration: Spec::paused() => streams::outlives;
    a_stream_takes_rules_as_they_come: Spec::paused() => streams::takes_rules;
    a_stream_loses_nothing_at_its_end: Spec::paused() => streams::loses_nothing;
}
