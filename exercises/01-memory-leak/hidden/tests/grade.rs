//! The hidden checks of `pulse`. Most of them stand on a paused clock: nothing here touches a socket, so hours of
//! silence cost nothing and the same tasks run in the same order each time.

use harness::{Check, Spec, check};

#[path = "grade/batches.rs"]
mod batches;
#[path = "grade/hub.rs"]
mod hub;
#[path = "grade/idle.rs"]
mod idle;
#[path = "grade/jobs.rs"]
mod jobs;
#[path = "grade/observe.rs"]
mod observe;
#[path = "grade/readers.rs"]
mod readers;
#[path = "grade/sessions.rs"]
mod sessions;

macro_rules! checks {
    ($($name:ident: $spec:expr => $body:path;)+) => {
        $(#[test]
        fn $name() {
            // Liveness only: the broken code keeps a hundred thousand tasks, which a busy machine takes its time over.
            check!($spec.deadline_s(60), async |cx: &Check| $body(cx).await);
        })+
    };
}

checks! {
    publish_reaches_only_connected_sessions: Spec::paused() => sessions::only_connected_ones_are_reached;
    a_session_may_be_dropped_without_a_runtime: Spec::current_thread() => sessions::dropped_without_a_runtime;
    a_reconnecting_device_hears_each_event_once: Spec::paused() => sessions::reconnects;
    a_quiet_session_is_still_served: Spec::paused() => readers::quiet;
    every_live_session_hears_everything_in_order: Spec::multi_thread(2) => readers::all_hear_everything;
    sessions_come_and_go_without_disturbing_others: Spec::multi_thread(2) => sessions::come_and_go;
    a_slow_reader_holds_nobody_up: Spec::paused() => readers::slow_reader;
    an_idle_device_is_told_once_and_on_time: Spec::paused() => idle::told_once_and_on_time;
    a_touch_postpones_the_expiry: Spec::paused() => idle::postponed;
    heartbeats_leave_nothing_behind: Spec::paused() => idle::heartbeats_leave_nothing;
    every_device_keeps_its_last_header: Spec::paused() => batches::headers;
    a_batch_is_given_back: Spec::paused() => batches::given_back;
    open_alarms_are_those_of_the_last_batch: Spec::paused() => batches::alarms;
    a_large_batch_leaves_no_room_behind: Spec::paused() => batches::no_room_left;
    every_ingest_is_reported: Spec::paused() => jobs::reports;
    finished_ingests_leave_nothing_behind: Spec::paused() => jobs::finished_leave_nothing;
    known_devices_are_not_calibrated_again: Spec::paused() => hub::calibrated_once;
    shutdown_delivers_everything_and_ends: Spec::paused() => hub::shutdown;
}
