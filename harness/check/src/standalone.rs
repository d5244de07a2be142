//! A check without `xtask`: `cargo test`, `cargo nextest`, an editor's run button.
//!
//! The test starts its own program again as a child for the one check, with the same deadline, takes servers from the
//! state file of `cargo xtask services up`, and panics with the report when the check did not pass. Budgets are not
//! judged here.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use verdict::wire::{
    CHECK_VARIABLE, Event, JUDGED_EXIT, Job, Judgement, LAST_WORDS_MAX, Line, Stuck, VERSION,
};
use verdict::{Patience, Verdict};

use crate::Spec;
use kept::Kept;

mod kept;

pub(crate) fn run(name: &str, spec: Spec) {
    let judgement = match run_child(name, spec) {
        Ok(judgement) => judgement,
        Err(error) => panic!("failed to run {name} in a process of its own: {error}"),
    };
    eprintln!(
        "{name}: {} (budgets are judged by `cargo xtask grade`)",
        judgement.verdict
    );
    if judgement.verdict != Verdict::Pass {
        panic!("{}", told(&judgement));
    }
}

fn told(judgement: &Judgement) -> String {
    let mut text = format!("{}\n  observed  {}", judgement.verdict, judgement.observed);
    if let Some(because) = &judgement.because {
        text.push_str(&format!("\n  because   {because}"));
    }
    for line in &judgement.evidence {
        text.push_str(&format!("\n  evidence  {line}"));
    }
    text
}

fn run_child(name: &str, spec: Spec) -> std::io::Result<Judgement> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([name, "--exact", "--nocapture", "--include-ignored"])
        .env(CHECK_VARIABLE, name)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .process_group(0)
        .spawn()?;
    let nonce = format!(
        "{:032x}",
        u128::from(fastrand::u64(..)) << 64 | u128::from(fastrand::u64(..))
    );
    let job = Job {
        version: VERSION,
        nonce: nonce.clone(),
        seed: seed(),
        sites: false,
        postgres: kept::postgres(),
    };
    let mut line = serde_json::to_vec(&job)?;
    line.push(b'\n');
    (&ours).write_all(&line)?;
    let heard = listen(&ours, &nonce, spec.deadline());
    Ok(match heard {
        Some(Heard::Stuck(stuck)) => Judgement {
            because: stuck.because,
            evidence: stuck.evidence,
            ..stopped(&mut child, &stuck.observed)
        },
        Some(Heard::Judged(judgement)) if exit_code(&mut child) == Some(JUDGED_EXIT) => judgement,
        Some(_) => stopped(&mut child, "the process did not end as the harness ends it"),
        None => stopped(
            &mut child,
            "the check ended without a verdict, or did not end within its deadline",
        ),
    })
}

/// The last that a check said.
enum Heard {
    Judged(Judgement),
    Stuck(Stuck),
}

fn listen(mut stream: &UnixStream, nonce: &str, deadline: Duration) -> Option<Heard> {
    let (begun, patience) = (Instant::now(), Patience::new(deadline));
    // Other checks may have a server that this one waits for.
    let mut waited = LAST_WORDS_MAX;
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    let mut judged = None;
    // To the end of the check.
    let mut kept = Kept::default();
    loop {
        let left = (patience.limit() + waited).checked_sub(begun.elapsed())?;
        stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .ok()?;
        match reader.read_line(&mut text) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return None,
        }
        let line: Line = serde_json::from_str(&text)
            .ok()
            .filter(|line: &Line| line.nonce == nonce)?;
        text.clear();
        match line.event {
            Event::Wants { wanted } => {
                let asked = Instant::now();
                let mut line = serde_json::to_vec(&kept.lend(&wanted)).ok()?;
                line.push(b'\n');
                stream.write_all(&line).ok()?;
                waited += asked.elapsed();
            }
            Event::Stuck(stuck) => return Some(Heard::Stuck(stuck)),
            Event::Judged(judgement) => judged = Some(judgement),
            Event::Ended => return judged.map(Heard::Judged),
            _ => {}
        }
    }
}

fn exit_code(child: &mut Child) -> Option<i32> {
    child.wait().ok()?.code()
}

fn stopped(child: &mut Child, observed: &str) -> Judgement {
    if let Ok(group) = i32::try_from(child.id()) {
        killpg(Pid::from_raw(group), Signal::SIGKILL).ok();
    }
    let status = child.wait().map(|status| status.to_string()).unwrap_or_default();
    Judgement {
        verdict: Verdict::Fail,
        observed: observed.to_owned(),
        because: None,
        evidence: vec![format!("the process ended with {status}")],
    }
}

fn seed() -> u64 {
    std::env::var("WAR_STORIES_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..1 << 32))
}
