//! Profiles, opened by the tool that made the format.

use std::process::Command;
use std::time::Duration;

use rstest::rstest;

use crate::watched::{Watched, tool};

/// What `go tool pprof` has in the first five lines.
fn top_five(url: &str, sample: &str) -> String {
    let settings = tempfile::tempdir().unwrap();
    let told = Command::new("go")
        .args(["tool", "pprof", "-top", "-nodecount=5", "-symbolize=none"])
        .arg(format!("-sample_index={sample}"))
        .arg(url)
        .env("PPROF_TMPDIR", settings.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let trouble = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{trouble}");
    text
}

#[rstest]
#[case::the_leak(
    "01",
    "pulse_timers",
    300.0,
    "/debug/pprof/heap",
    "inuse_space",
    "memory_leak::"
)]
#[case::what_has_grown(
    "01",
    "pulse_timers",
    300.0,
    "/debug/pprof/diff",
    "inuse_space",
    "memory_leak::"
)]
#[case::the_processor(
    "02",
    "process_cpu_seconds_total",
    4.0,
    "/debug/pprof/profile?seconds=5",
    "samples",
    "regex"
)]
#[case::the_churn(
    "10",
    "heap_allocations_total",
    100_000.0,
    "/debug/pprof/allocs",
    "alloc_space",
    "buffer_churn::"
)]
fn the_cause_is_among_the_first_five(
    #[case] scenario: &str,
    #[case] series: &str,
    #[case] least: f64,
    #[case] path: &str,
    #[case] sample: &str,
    #[case] name: &str,
) {
    if tool(&["go"]).is_none() {
        return;
    }
    let watched = Watched::start(&[scenario, "--for", "5m"]);
    watched.until(series, Duration::from_secs(60), |value| value >= least);
    let told = top_five(&format!("{}{path}", watched.url), sample);
    assert!(told.contains(name), "{name} is not among\n{told}");
    println!("{told}");
    // The same as a picture.
    let drawn = match path.contains('?') {
        true => format!("{path}&format=svg"),
        false => format!("{path}?format=svg"),
    };
    let (status, svg) = watched.get(&drawn);
    assert!(
        status == 200 && svg.contains("<svg") && svg.contains(name),
        "{drawn}: {status}"
    );
}
