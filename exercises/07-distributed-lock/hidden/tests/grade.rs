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

use std::sync::Arc;

use distributed_lock_hidden::fleet::{self, Way, watch_timers};
use distributed_lock_hidden::stage::Stage;
use harness::{Check, Failure, Outcome, Spec, check, replica};

/// How often a check is tried whose replicas did not get a processor in time.
const TRIES: usize = 2;

/// A test whose program is also that of its replicas. The body is given its servers, and the test's
/// name, by which it starts replicas.
macro_rules! with_replicas {
    ($($name:ident => $way:ident, $spec:expr, $body:path;)*) => {$(
        #[test]
        fn $name() {
            if replica::is_one() {
                return fleet::serve();
            }
            check!($spec, async |cx: &Check| {
                let mut outcome = Ok(());
                let (mut tries, mut with_zookeeper) = (0, false);
                while tries < TRIES {
                    let stage = Arc::new(Stage::set(cx, Way::$way, with_zookeeper).await?);
                    let timers = watch_timers(stage.desk.address().to_owned(), String::new());
                    tokio::select! {
                        judged = $body(cx, &stage, stringify!($name)) => outcome = judged,
                        () = timers => {}
                        () = stage.zookeeper_is_wanted() => {
                            cx.stage("once more, with a ZooKeeper");
                            with_zookeeper = true;
                            continue;
                        }
                    }
                    tries += 1;
                    match &outcome {
                        Err(failure) if failure.is_fail() && stage.was_starved() => {}
                        _ => return outcome,
                    }
                }
                Err(busy(outcome))
            });
        }
    )*};
}

/// A day can be lost to a busy machine. Then what was seen says nothing.
fn busy(outcome: Outcome) -> Failure {
    let seen = outcome
        .err()
        .map(|failure| failure.to_string())
        .unwrap_or_default();
    Failure::inconclusive("the machine was too busy for replicas to renew in time").evidence(seen)
}

with_replicas! {
    postgres_a_day_is_reported_once => Postgres, Spec::default().deadline_s(120), once::race;
    postgres_a_late_replica_finds_the_day_done => Postgres, Spec::default().deadline_s(60), once::late;
    postgres_days_do_not_wait_for_each_other => Postgres, Spec::default().deadline_s(60), once::apart;
    postgres_a_failed_day_is_free_at_once => Postgres, Spec::default().deadline_s(120), release::failed;
    postgres_a_cancelled_job_frees_its_day => Postgres, Spec::default().deadline_s(120), release::cancelled;
    postgres_a_killed_replica_is_replaced => Postgres, Spec::default().deadline_s(120), crash::killed;
    postgres_a_long_job_keeps_its_day => Postgres, Spec::default().deadline_s(150), lease::long;
    postgres_a_job_is_told_that_its_day_is_lost => Postgres, Spec::default().deadline_s(120), lease::lost;
    postgres_a_paused_replica_publishes_nothing => Postgres, Spec::default().deadline_s(120), stale::paused;
    postgres_a_late_word_takes_nothing_from_its_successor => Postgres, Spec::default().deadline_s(120), stale::late_word;
    postgres_a_broken_connection_costs_no_day => Postgres, Spec::default().deadline_s(150), faults::cut;
    postgres_a_crash_anywhere_costs_no_day => Postgres, Spec::default().deadline_s(150), faults::crash;
}

with_replicas! {
    redis_a_day_is_reported_once => Redis, Spec::default().deadline_s(120), once::race;
    redis_a_late_replica_finds_the_day_done => Redis, Spec::default().deadline_s(60), once::late;
    redis_days_do_not_wait_for_each_other => Redis, Spec::default().deadline_s(60), once::apart;
    redis_a_failed_day_is_free_at_once => Redis, Spec::default().deadline_s(120), release::failed;
    redis_a_cancelled_job_frees_its_day => Redis, Spec::default().deadline_s(120), release::cancelled;
    redis_a_killed_replica_is_replaced => Redis, Spec::default().deadline_s(120), crash::killed;
    redis_a_long_job_keeps_its_day => Redis, Spec::default().deadline_s(150), lease::long;
    redis_a_job_is_told_that_its_day_is_lost => Redis, Spec::default().deadline_s(120), lease::lost;
    redis_a_paused_replica_publishes_nothing => Redis, Spec::default().deadline_s(120), stale::paused;
    redis_a_late_word_takes_nothing_from_its_successor => Redis, Spec::default().deadline_s(120), stale::late_word;
    redis_a_broken_connection_costs_no_day => Redis, Spec::default().deadline_s(150), faults::cut;
    redis_a_crash_anywhere_costs_no_day => Redis, Spec::default().deadline_s(150), faults::crash;
}

with_replicas! {
    etcd_a_day_is_reported_once => Etcd, Spec::default().deadline_s(120), once::race;
    etcd_a_late_replica_finds_the_day_done => Etcd, Spec::default().deadline_s(60), once::late;
    etcd_days_do_not_wait_for_each_other => Etcd, Spec::default().deadline_s(60), once::apart;
    etcd_a_failed_day_is_free_at_once => Etcd, Spec::default().deadline_s(120), release::failed;
    etcd_a_cancelled_job_frees_its_day => Etcd, Spec::default().deadline_s(120), release::cancelled;
    etcd_a_killed_replica_is_replaced => Etcd, Spec::default().deadline_s(120), crash::killed;
    etcd_a_long_job_keeps_its_day => Etcd, Spec::default().deadline_s(150), lease::long;
    etcd_a_job_is_told_that_its_day_is_lost => Etcd, Spec::default().deadline_s(120), lease::lost;
    etcd_a_paused_replica_publishes_nothing => Etcd, Spec::default().deadline_s(120), stale::paused;
    etcd_a_late_word_takes_nothing_from_its_successor => Etcd, Spec::default().deadline_s(120), stale::late_word;
    etcd_a_broken_connection_costs_no_day => Etcd, Spec::default().deadline_s(150), faults::cut;
    etcd_a_crash_anywhere_costs_no_day => Etcd, Spec::default().deadline_s(150), faults::crash;
}
