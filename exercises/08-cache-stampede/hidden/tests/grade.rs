//! The hidden checks of `pricecache`, as a table of contents. Each stands, with its reasons, in the module that is named.
//!
//! A library may keep a clock of its own, so whatever has to do with a price's life runs in real time and judges counts.

use harness::{Check, Spec, check};

#[path = "grade/callers.rs"]
mod callers;
#[path = "grade/early.rs"]
mod early;
#[path = "grade/errors.rs"]
mod errors;
#[path = "grade/herds.rs"]
mod herds;
#[path = "grade/invalidation.rs"]
mod invalidation;
#[path = "grade/memory.rs"]
mod memory;
#[path = "grade/outages.rs"]
mod outages;
#[path = "grade/replicas.rs"]
mod replicas;
#[path = "grade/slow.rs"]
mod slow;
#[path = "grade/waking.rs"]
mod waking;

macro_rules! checks {
    ($($name:ident: $spec:expr => $body:path;)+) => {
        $(#[test]
        fn $name() {
            check!($spec, async |cx: &Check| $body(cx).await);
        })+
    };
}

checks! {
    a_herd_on_a_cold_key_loads_once: Spec::multi_thread(2) => herds::cold;
    a_herd_at_the_expiry_loads_once: Spec::multi_thread(2) => herds::expired;
    a_slow_key_holds_nobody_up: Spec::multi_thread(2).deadline_s(15) => slow::key;
    waiters_outlive_the_caller_that_came_first: Spec::multi_thread(2) => callers::hang_up;
    a_panic_in_the_origin_harms_one_caller_at_most: Spec::multi_thread(2) => callers::panic;
    an_error_is_told_to_its_herd_and_forgotten: Spec::multi_thread(2) => errors::herd;
    an_old_price_is_better_than_none_for_a_while: Spec::multi_thread(2) => errors::stale;
    an_invalidated_price_does_not_come_back: Spec::multi_thread(2) => invalidation::in_flight;
    the_formula_is_the_published_one: Spec::current_thread() => early::formula;
    a_hot_price_is_renewed_before_it_expires: Spec::multi_thread(2) => early::before_expiry;
    renewals_are_in_time_and_few: Spec::current_thread() => early::over_many_cycles;
    distinct_keys_leave_nothing_behind: Spec::current_thread().deadline_s(60) => memory::distinct;
    failed_and_abandoned_loads_leave_nothing_behind: Spec::current_thread().deadline_s(60) => memory::failed;
    a_hit_costs_next_to_nothing: Spec::current_thread() => memory::hits;
    waiters_are_woken_by_the_load: Spec::paused() => waking::waiters;
    instances_share_what_one_has_loaded: Spec::multi_thread(2).deadline_s(60) => replicas::share;
    one_instance_loads_for_all: Spec::multi_thread(2).deadline_s(60) => replicas::one_for_all;
    a_shared_price_ages_and_goes_everywhere: Spec::multi_thread(2).deadline_s(60) => replicas::age;
    a_crash_delays_the_other_instances_briefly: Spec::multi_thread(2).deadline_s(60) => outages::crash;
    an_instance_leaves_alone_what_is_not_its_own: Spec::multi_thread(2).deadline_s(60) => outages::owner;
    without_redis_the_origin_answers: Spec::multi_thread(2).deadline_s(60) => outages::no_redis;
}
