//! One empty check, from the spawning of its process to its verdict and end.
//!
//! `cargo bench -p harness --bench check`. The aim is 30 ms. Started by itself, this program is the check.

use criterion::{Criterion, criterion_group};
use harness::{Check, Spec, check};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use verdict::wire::{CHECK_VARIABLE, Event, JUDGED_EXIT, Job, Line, VERSION};

fn empty() {
    check!(Spec::multi_thread(2), async |_: &Check| Ok(()));
}

/// The check's parent, as far as `cargo xtask grade` is one.
fn spawn_to_verdict() {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .env(CHECK_VARIABLE, "empty")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .process_group(0)
        .spawn()
        .expect("a process");
    let job = Job {
        version: VERSION,
        nonce: "bench".to_owned(),
        seed: 1,
        sites: false,
        postgres: None,
    };
    let line = serde_json::to_string(&job).expect("plain data") + "\n";
    (&ours).write_all(line.as_bytes()).expect("the job is taken");
    let mut passed = false;
    for line in BufReader::new(&ours).lines() {
        let line: Line = serde_json::from_str(&line.expect("a line")).expect("an event");
        match line.event {
            Event::Judged(judgement) => passed = judgement.verdict == verdict::Verdict::Pass,
            Event::Ended => break,
            _ => {}
        }
    }
    let status = child.wait().expect("an end");
    assert!(passed && status.code() == Some(JUDGED_EXIT), "{status}");
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("an empty check");
    group
        .sample_size(50)
        .measurement_time(Duration::from_secs(4))
        .warm_up_time(Duration::from_millis(500));
    group.bench_function("from spawn to verdict", |b| b.iter(spawn_to_verdict));
    group.finish();
}

criterion_group!(benches, bench);

fn main() {
    if std::env::var_os(CHECK_VARIABLE).is_some() {
        return empty();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
