//! What there is to see of a service that answers nobody any more.

use std::time::{Duration, Instant};

use crate::watched::{Watched, await_that};

const SOON: Duration = Duration::from_secs(60);
const ANSWERED_MAX: Duration = Duration::from_secs(2);

#[test]
fn tasks_are_told_within_two_seconds_while_they_wait_for_each_other_and_while_threads_do() {
    let watched = Watched::start(&["03", "--for", "5m"]);
    // Read once beforehand: the first look reads the program's symbols.
    watched.get("/debug/tasks");
    watched.until("requests_in_flight", SOON, |waiting| waiting > 40.0);
    let parked = asked(&watched);
    assert!(parked.contains("by where they were spawned"), "{parked}");
    assert!(
        parked.contains("deadlock::bank"),
        "no task is told to wait in the bank:\n{parked}"
    );
    // Later the first account of the day is opened, and threads block.
    let blocked = await_that("blocked threads", SOON, || {
        Some(asked(&watched)).filter(|told| told.contains("lock_of"))
    });
    assert!(blocked.contains("threads of the service"), "{blocked}");
    let (status, page) = watched.get("/");
    assert!(status == 200 && page.contains("<figure>"));
}

fn asked(watched: &Watched) -> String {
    let begun = Instant::now();
    let (status, told) = watched.get("/debug/tasks");
    let took = begun.elapsed();
    assert!(status == 200 && took < ANSWERED_MAX, "{status} after {took:?}");
    told
}
