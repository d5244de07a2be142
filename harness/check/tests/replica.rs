//! Replicas are processes: they keep their state, can be stopped and killed, and end with whoever started them.

use std::cell::Cell;
use std::time::Duration;

use harness::replica::{self, Replica};
use harness::{Check, Outcome, check, ensure};

const COUNTING: &str = "a_replica_keeps_its_state_and_dies_when_it_is_killed";
const PAUSED: &str = "a_paused_replica_answers_when_it_goes_on";

/// Answers with the sum of all that it has been asked.
fn adding() {
    let sum = Cell::new(0u64);
    replica::serve(async |n: u64| {
        sum.set(sum.get() + n);
        (sum.get(), std::process::id())
    });
}

#[test]
fn a_replica_keeps_its_state_and_dies_when_it_is_killed() {
    if replica::is_one() {
        return adding();
    }
    check!(async |cx: &Check| -> Outcome {
        let mut one = Replica::start(cx, COUNTING).await?;
        let mut other = Replica::start(cx, COUNTING).await?;
        let (_, pid): (u64, u32) = one.ask(&40).await?;
        let (sum, same): (u64, u32) = one.ask(&2).await?;
        let (apart, another): (u64, u32) = other.ask(&1).await?;
        ensure!(
            (sum, apart) == (42, 1),
            "Each replica has its own state.",
            "{sum} and {apart}"
        );
        ensure!(
            pid == same && pid != another && pid != std::process::id(),
            "Each replica is a process.",
            "processes {pid}, {same}, {another}"
        );
        one.kill();
        ensure!(
            one.ask::<_, (u64, u32)>(&1).await.is_err(),
            "A killed replica answers nobody.",
            "it did"
        );
        Ok(())
    });
}

#[test]
fn a_paused_replica_answers_when_it_goes_on() {
    if replica::is_one() {
        return adding();
    }
    check!(async |cx: &Check| -> Outcome {
        let mut one = Replica::start(cx, PAUSED).await?;
        let _: (u64, u32) = one.ask(&1).await?;
        one.pause();
        let asked = tokio::time::timeout(Duration::from_millis(100), one.ask::<_, (u64, u32)>(&1)).await;
        ensure!(asked.is_err(), "A paused process answers nobody.", "it did");
        one.resume();
        // The answer to the question that nobody waited for comes first.
        let (sum, _): (u64, u32) = one.ask(&1).await?;
        ensure!(sum >= 2, "It goes on where it stood.", "{sum}");
        Ok(())
    });
}
