//! A service with little memory: killed, started again, and what the container runtime says of it.

use std::time::{Duration, Instant};

use crate::watched::{Watched, await_that, incident};

const KILLED_MAX: Duration = Duration::from_secs(120);

#[test]
fn the_leak_is_killed_and_started_again_and_the_reference_lives_ten_times_as_long() {
    // The shortest way to know whether there is a daemon; it builds what is needed, too.
    let tried = incident(&["01", "--reference", "--memory", "64m", "--for", "1s"])
        .output()
        .unwrap();
    let trouble = String::from_utf8_lossy(&tried.stderr);
    if trouble.contains("a memory limit needs a container, and there is none") {
        eprintln!("SKIPPED: {trouble}");
        return;
    }
    assert!(tried.status.success(), "{trouble}");

    let lives_s = {
        let watched = Watched::start(&["01", "--memory", "64m", "--for", "5m"]);
        let killed = await_that("the end of the container", KILLED_MAX, || {
            watched
                .said
                .try_iter()
                .find(|line| line.starts_with("killed after"))
        });
        assert!(killed.contains("OOMKilled, exit 137"), "{killed}");
        let begun = Instant::now();
        let page = loop {
            if let Some((200, page)) = watched.try_get("/") {
                break page;
            }
            assert!(begun.elapsed() < KILLED_MAX, "nobody started it again");
            std::thread::sleep(Duration::from_millis(200));
        };
        assert!(page.contains("Restarts: 1. The last container ended with OOMKilled, exit 137"));
        killed
            .split_whitespace()
            .find_map(|word| word.parse::<u64>().ok())
            .unwrap()
    };
    let lasts = format!("{}s", 10 * lives_s.max(1));
    let kept = incident(&["01", "--reference", "--memory", "64m", "--for", &lasts])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&kept.stdout);
    assert!(kept.status.success() && told.contains("no restarts in"), "{told}");
    println!("the exercise lived for {lives_s} s, the reference for {lasts}");
}
