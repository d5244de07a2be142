//! What there is to see of a service that answers nobody any more.

use std::time::{Duration, Instant};

use crate::watched::Watched;

const SOON: Duration = Duration::from_secs(90);
const ANSWERED_MAX: Duration = Duration::from_secs(2);

#[test]
fn tasks_are_told_within_two_seconds_while_they_wait_for_each_other() {
    let watched = hung(60.0);
    let parked = asked(&watched);
    assert!(parked.contains("by where they were spawned"), "{parked}");
    assert!(
        parked.contains("tasks, each waits") && parked.contains("03-deadlock/src/bank.rs"),
        "no task is told to wait in the bank:\n{parked}"
    );
    let (status, page) = watched.get("/");
    assert!(status == 200 && page.contains("<figure>"));
}

#[test]
fn threads_are_told_within_two_seconds_while_they_wait_for_each_other() {
    // By then the first accounts of the day are opened.
    let watched = hung(2500.0);
    let blocked = asked(&watched);
    assert!(
        blocked.contains("blocked: thread `service` waits for a std Mutex")
            && blocked.contains("accounts.rs"),
        "no thread is told to be blocked:\n{blocked}"
    );
    let (status, page) = watched.get("/");
    assert!(status == 200 && page.contains("<figure>"));
}

/// The service, once so many requests have no answer.
fn hung(waiting: f64) -> Watched {
    let watched = Watched::start(&["03", "--for", "5m"]);
    watched.until("requests_in_flight", SOON, |now| now > waiting);
    watched
}

/// Somebody who looks three times is answered in time at least once, however busy the machine is otherwise.
fn asked(watched: &Watched) -> String {
    let mut took = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        let (status, told) = watched.get("/debug/tasks");
        assert_eq!(status, 200, "{told}");
        took.push(begun.elapsed());
        if begun.elapsed() < ANSWERED_MAX {
            println!("answered after {took:?}");
            return told;
        }
    }
    panic!("answered after {took:?}");
}
