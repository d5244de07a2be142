//! A check as a process.
//!
//! The hidden program is an ordinary libtest binary. Started by its parent (`xtask`, or the same program without it),
//! it runs one check, tells its parent over the pipe what it found, and exits with [`JUDGED_EXIT`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::{prctl, resource, signal::Signal};
use tokio::runtime::{Builder, Handle};
use verdict::Verdict;
use verdict::wire::{CHECK_VARIABLE, Event, JUDGED_EXIT, Judgement};

use crate::channel::Channel;
use crate::{Check, Failure, Outcome, Spec, alloc, panics, standalone};

/// How long the subject's runtime may take to wind down. What is still blocked then ends with the process.
const WIND_DOWN: Duration = Duration::from_millis(500);

/// Runs the check named by `here` (the path of a function inside the test), here if this process was started for it,
/// in a child process otherwise.
///
/// # Panics
/// Without `xtask`, when the check did not pass; the message is the report.
pub fn run(here: &str, spec: Spec, body: impl AsyncFn(&Check) -> Outcome) {
    let name = test_name(here);
    match std::env::var(CHECK_VARIABLE) {
        Ok(asked) if asked == name => run_here(name, spec, body),
        Ok(asked) => panic!("this process was started for {asked}, not for {name}"),
        Err(_) => standalone::run(name, spec),
    }
}

/// `grade::leaks::tasks_end::here` is the test `leaks::tasks_end`.
fn test_name(here: &str) -> &str {
    let path = here.strip_suffix("::here").unwrap_or(here);
    path.split_once("::").map_or(path, |(_crate, name)| name)
}

fn run_here(name: &str, spec: Spec, body: impl AsyncFn(&Check) -> Outcome) {
    prctl::set_pdeathsig(Signal::SIGKILL).ok();
    resource::setrlimit(resource::Resource::RLIMIT_CORE, 0, 0).ok();
    let (channel, job) = match Channel::open() {
        Ok(opened) => opened,
        Err(error) => panic!("failed to read the check's job from standard input: {error}"),
    };
    panics::remember();
    let cx = Check::new(job, harness_runtime(), channel);
    cx.say(Event::Started {
        check: name.to_owned(),
        deadline_ms: u64::try_from(spec.deadline().as_millis()).unwrap_or(u64::MAX),
    });
    cx.guard(spec);
    let judgement = judge(&cx, spec, body);
    cx.watchdog.call_off();
    cx.say(Event::Judged(judgement));
    cx.say(Event::Ended);
    // Not by returning: libtest's exit code is not a verdict, and a blocked thread must not keep the process.
    std::process::exit(JUDGED_EXIT);
}

/// What a program is given that is watched on call: the servers and databases that a check would have, by the same pipe,
/// and nobody who judges it.
///
/// # Errors
/// The parent is not `cargo xtask incident`.
pub(crate) fn watched() -> std::io::Result<Check> {
    prctl::set_pdeathsig(Signal::SIGTERM).ok();
    resource::setrlimit(resource::Resource::RLIMIT_CORE, 0, 0).ok();
    let (channel, job) = Channel::open()?;
    Ok(Check::new(job, harness_runtime(), channel))
}

fn judge(cx: &Check, spec: Spec, body: impl AsyncFn(&Check) -> Outcome) -> Judgement {
    if cx.job.sites {
        alloc::sites::record(true);
    }
    let mut outcome = Ok(());
    for (words, builder) in spec.runtimes() {
        outcome = judge_on(cx, builder, words, &body);
        if let Err(failure) = outcome {
            outcome = Err(match words {
                Some(words) => failure.evidence(words),
                None => failure,
            });
            break;
        }
    }
    judgement(cx, outcome)
}

fn judge_on(
    cx: &Check,
    mut builder: Builder,
    words: Option<&'static str>,
    body: &impl AsyncFn(&Check) -> Outcome,
) -> Outcome {
    #[cfg(all(tokio_unstable, feature = "diagnosis"))]
    crate::stuck::watch_tasks(&mut builder);
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("failed to build a runtime: {error}")))?;
    cx.watchdog.runs_on(runtime.handle().clone(), words);
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(body(cx))));
    alloc::sites::record(false);
    let outcome = outcome.unwrap_or_else(|payload| Err(panicked(payload)));
    let _errand = cx.watchdog.errand();
    let outcome = match outcome {
        Err(failure) if failure.is_fail() => Err(cx.harness.block_on(cx.doubt(failure))),
        judged => judged,
    };
    runtime.shutdown_timeout(WIND_DOWN);
    let finished = cx.harness.block_on(cx.finish());
    outcome.and(finished)
}

fn panicked(payload: Box<dyn Any + Send>) -> Failure {
    let message = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a value that is no text");
    Failure::new(format!("the check panicked: {message}"))
}

fn judgement(cx: &Check, outcome: Outcome) -> Judgement {
    let Err(failure) = outcome else {
        return Judgement {
            verdict: Verdict::Pass,
            observed: String::new(),
            because: None,
            evidence: Vec::new(),
        };
    };
    let mut evidence = failure.evidence;
    evidence.extend(cx.notes());
    evidence.extend(
        panics::seen()
            .into_iter()
            .map(|panic| format!("panicked at {panic}")),
    );
    Judgement {
        verdict: failure.verdict,
        observed: failure.observed,
        because: failure.because,
        evidence,
    }
}

/// A runtime on a thread that runs what belongs to the grader, exempt from the allocation counts, until the process ends.
/// Each call starts another. A check has its own ([`Check::harness_handle`]); this is for tests and benches of probes.
///
/// # Panics
/// When the machine gives no thread.
pub fn harness_runtime() -> Handle {
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new()
        .name("harness".to_owned())
        .spawn(move || {
            alloc::exempt_current_thread();
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => panic!("failed to build the harness's runtime: {error}"),
            };
            sender.send(runtime.handle().clone()).ok();
            runtime.block_on(std::future::pending::<()>());
        })
        .and_then(|_thread| receiver.recv().map_err(std::io::Error::other))
        .unwrap_or_else(|error| panic!("failed to start the harness's thread: {error}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case("grade::tasks_end::here", "tasks_end")]
    #[case("grade::leaks::tasks_end::here", "leaks::tasks_end")]
    #[case("tasks_end", "tasks_end")]
    fn a_test_is_named_as_libtest_names_it(#[case] here: &str, #[case] name: &str) {
        assert_eq!(super::test_name(here), name);
    }
}
