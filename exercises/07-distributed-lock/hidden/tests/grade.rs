//! The hidden checks, as a table of contents: each promise three times, once for each backend.

#[path = "grade/crash.rs"]
mod crash;
#[path = "grade/faults.rs"]
mod faults;
#[path = "grade/lease.rs"]
mod lease;
#[path = "grade/once.rs"]
mod once;
#[path = "grade/release.rs"]
mod release;
#[path = "grade/stale.rs"]
mod stale;

use distributed_lock_hidden::fleet::{self, Way};
use harness::{Check, Spec, check, replica};

/// A test whose program is also that of its replicas. The body is given the test's name, by which it starts them.
macro_rules! with_replicas {
    ($($name:ident => $way:ident, $spec:expr, $body:path;)*) => {$(
        #[test]
        fn $name() {
            if replica::is_one() {
                return fleet::serve();
            }
            check!($spec, async |cx: &Check| $body(cx, stringify!($name), Way::$way).await);
        }
    )*};
}

with_replicas! {
    postgres_a_day_is_reported_once => Postgres, Spec::default().deadline_s(60), once::race;
    postgres_a_late_replica_finds_the_day_done => Postgres, Spec::default(), once::late;
    postgres_days_do_not_wait_for_each_other => Postgres, Spec::default(), once::apart;
    postgres_a_failed_day_is_free_at_once => Postgres, Spec::default().deadline_s(60), release::failed;
    postgres_a_cancelled_job_frees_its_day => Postgres, Spec::default().deadline_s(60), release::cancelled;
    postgres_a_killed_replica_is_replaced => Postgres, Spec::default().deadline_s(60), crash::killed;
    postgres_a_long_job_keeps_its_day => Postgres, Spec::default().deadline_s(90), lease::long;
    postgres_a_job_is_told_that_its_day_is_lost => Postgres, Spec::default().deadline_s(60), lease::lost;
    postgres_a_paused_replica_publishes_nothing => Postgres, Spec::default().deadline_s(60), stale::paused;
    postgres_a_late_word_takes_nothing_from_its_successor => Postgres, Spec::default().deadline_s(60), stale::late_word;
    postgres_a_broken_connection_costs_no_day => Postgres, Spec::default().deadline_s(90), faults::cut;
    postgres_a_crash_anywhere_costs_no_day => Postgres, Spec::default().deadline_s(90), faults::crash;
}

with_replicas! {
    redis_a_day_is_reported_once => Redis, Spec::default().deadline_s(60), once::race;
    redis_a_late_replica_finds_the_day_done => Redis, Spec::default(), once::late;
    redis_days_do_not_wait_for_each_other => Redis, Spec::default(), once::apart;
    redis_a_failed_day_is_free_at_once => Redis, Spec::default().deadline_s(60), release::failed;
    redis_a_cancelled_job_frees_its_day => Redis, Spec::default().deadline_s(60), release::cancelled;
    redis_a_killed_replica_is_replaced => Redis, Spec::default().deadline_s(60), crash::killed;
    redis_a_long_job_keeps_its_day => Redis, Spec::default().deadline_s(90), lease::long;
    redis_a_job_is_told_that_its_day_is_lost => Redis, Spec::default().deadline_s(60), lease::lost;
    redis_a_paused_replica_publishes_nothing => Redis, Spec::default().deadline_s(60), stale::paused;
    redis_a_late_word_takes_nothing_from_its_successor => Redis, Spec::default().deadline_s(60), stale::late_word;
    redis_a_broken_connection_costs_no_day => Redis, Spec::default().deadline_s(90), faults::cut;
    redis_a_crash_anywhere_costs_no_day => Redis, Spec::default().deadline_s(90), faults::crash;
}

with_replicas! {
    etcd_a_day_is_reported_once => Etcd, Spec::default().deadline_s(60), once::race;
    etcd_a_late_replica_finds_the_day_done => Etcd, Spec::default(), once::late;
    etcd_days_do_not_wait_for_each_other => Etcd, Spec::default(), once::apart;
    etcd_a_failed_day_is_free_at_once => Etcd, Spec::default().deadline_s(60), release::failed;
    etcd_a_cancelled_job_frees_its_day => Etcd, Spec::default().deadline_s(60), release::cancelled;
    etcd_a_killed_replica_is_replaced => Etcd, Spec::default().deadline_s(60), crash::killed;
    etcd_a_long_job_keeps_its_day => Etcd, Spec::default().deadline_s(90), lease::long;
    etcd_a_job_is_told_that_its_day_is_lost => Etcd, Spec::default().deadline_s(60), lease::lost;
    etcd_a_paused_replica_publishes_nothing => Etcd, Spec::default().deadline_s(60), stale::paused;
    etcd_a_late_word_takes_nothing_from_its_successor => Etcd, Spec::default().deadline_s(60), stale::late_word;
    etcd_a_broken_connection_costs_no_day => Etcd, Spec::default().deadline_s(90), faults::cut;
    etcd_a_crash_anywhere_costs_no_day => Etcd, Spec::default().deadline_s(90), faults::crash;
}
