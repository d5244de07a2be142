//! Profiles, opened by the tool that made the format.

use std::process::Command;
use std::time::Duration;

use rstest::rstest;

use crate::watched::{Watched, tool};

/// The first five functions of the service that `go tool pprof` has.
fn top_five(url: &str, sample: &str, service: &str) -> String {
    let settings = tempfile::tempdir().unwrap();
    let told = Command::new("go")
        .args(["tool", "pprof", "-top", "-nodecount=5", "-symbolize=none"])
        .arg(format!("-show={service}::"))
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
    3000.0,
    "heap",
    "inuse_space",
    "memory_leak::hub::Hub::touch"
)]
#[case::what_has_grown(
    "01",
    "pulse_timers",
    6000.0,
    "diff",
    "inuse_space",
    "memory_leak::hub::Hub::connect"
)]
#[case::the_processor(
    "02",
    "requests_in_flight",
    60.0,
    "profile?seconds=5",
    "cpu",
    "cpu_spike::rules::Rule::new"
)]
#[case::the_churn(
    "10",
    "heap_allocations_total",
    100_000.0,
    "allocs",
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
    watched.until(series, Duration::from_secs(90), |value| value >= least);
    let path = format!("/debug/pprof/{path}");
    let service = name.split("::").next().unwrap();
    let told = top_five(&format!("{}{path}", watched.url), sample, service);
    assert!(told.contains(name), "{name} is not among\n{told}");
    println!("{told}");
    // The same as a picture.
    let drawn = match path.contains('?') {
        true => format!("{path}&format=svg"),
        false => format!("{path}?format=svg"),
    };
    let (status, svg) = watched.get(&drawn);
    assert!(
        status == 200 && svg.contains("<svg") && svg.contains(service),
        "{drawn}: {status}"
    );
}
