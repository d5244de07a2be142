//! The check once more, under callgrind.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use verdict::wire::{CHECK_VARIABLE, Job};

use super::{dump, request};

/// Its presence makes a check's process the one that counts.
const COUNTING_VARIABLE: &str = "WAR_STORIES_COUNTING";
/// How long it may take, start-up and all. Several times what it needs on a busy machine.
const DEADLINE: Duration = Duration::from_secs(25);

/// Instructions of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) subject: u64,
    pub(super) reference: u64,
}

/// Whether this process is the one that counts.
pub(super) fn asked() -> bool {
    std::env::var_os(COUNTING_VARIABLE).is_some() && request::under_valgrind()
}

/// Does the work of both sides, counted, and ends the process: what comes after it is the parent's.
pub(super) fn work<'a>(subject: &'a mut dyn FnMut(), reference: &'a mut dyn FnMut()) -> ! {
    for (name, side) in [(c"subject", subject), (c"reference", reference)] {
        side();
        request::zero();
        request::toggle_collect();
        side();
        request::toggle_collect();
        request::dump(name);
    }
    std::process::exit(0);
}

/// Runs this process's check under callgrind.
///
/// # Errors
/// Why there is no count, to stand in parentheses.
pub(super) fn count(job: &Job) -> Result<Counts, String> {
    let check = std::env::var(CHECK_VARIABLE).map_err(|_| "no check is being run".to_owned())?;
    let folder = Folder::make().map_err(|error| format!("there is no room for its files: {error}"))?;
    run(&check, job, &folder.0)?;
    let dumps = dump::read_all(&folder.0).map_err(|error| format!("its files cannot be read: {error}"))?;
    counts(&dumps).ok_or_else(|| "callgrind did not count both sides".to_owned())
}

/// Exactly one count of each side: a side that makes requests of its own is not believed.
fn counts(dumps: &[dump::Dump]) -> Option<Counts> {
    let only = |name: &str| {
        let mut of_it = dumps.iter().filter(|dump| dump.name == name);
        let first = of_it.next().filter(|_| of_it.next().is_none())?;
        Some(first.instructions).filter(|count| *count > 0)
    };
    Some(Counts {
        subject: only("subject")?,
        reference: only("reference")?,
    })
}

fn run(check: &str, job: &Job, folder: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("valgrind cannot be run: {error}");
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut child = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--quiet",
            "--collect-atstart=no",
            "--dump-line=no",
        ])
        .arg(format!("--callgrind-out-file={}", folder.join("count").display()))
        .arg(std::env::current_exe().map_err(failed)?)
        .args([
            check,
            "--exact",
            "--nocapture",
            "--include-ignored",
            "--test-threads=1",
        ])
        .env(COUNTING_VARIABLE, "1")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "valgrind is not installed".to_owned(),
            _ => failed(error),
        })?;
    let job = Job {
        // A conversation of its own, which nobody follows.
        nonce: "counting".to_owned(),
        sites: false,
        ..job.clone()
    };
    let mut line = serde_json::to_vec(&job).unwrap_or_default();
    line.push(b'\n');
    (&ours).write_all(&line).ok();
    if !ends(&ours, Instant::now() + DEADLINE) {
        stop(&mut child);
        return Err(format!("valgrind did not end within {DEADLINE:?}"));
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("under valgrind it ended with {status}")),
        Err(error) => Err(failed(error)),
    }
}

/// Reads what nobody needs until the other end is closed, which is when its process has ended.
fn ends(mut pipe: &UnixStream, deadline: Instant) -> bool {
    let mut chunk = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || pipe.set_read_timeout(Some(left)).is_err() {
            return false;
        }
        match pipe.read(&mut chunk) {
            Ok(0) => return true,
            Ok(_) => {}
            // The deadline, or a signal: the next round tells.
            Err(_) => {}
        }
    }
}

fn stop(child: &mut Child) {
    child.kill().ok();
    child.wait().ok();
}

/// Where callgrind writes; gone when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn make() -> std::io::Result<Folder> {
        let name = format!(
            "war-stories-counts-{}-{:08x}",
            std::process::id(),
            fastrand::u32(..)
        );
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder)?;
        Ok(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::dump::Dump;
    use super::*;

    fn dumped(name: &str, instructions: u64) -> Dump {
        Dump {
            name: name.to_owned(),
            instructions,
        }
    }

    #[test]
    fn each_side_is_counted_once() {
        let both = [dumped("reference", 7), dumped("subject", 21)];
        let expected = Counts {
            subject: 21,
            reference: 7,
        };
        assert_eq!(counts(&both), Some(expected));
        assert_eq!(counts(&both[..1]), None);
        let forged = [dumped("subject", 1), both[0].clone(), both[1].clone()];
        assert_eq!(counts(&forged), None);
        assert_eq!(counts(&[dumped("subject", 0), dumped("reference", 7)]), None);
    }

    #[test]
    fn a_process_that_was_not_started_for_it_does_not_count() {
        assert!(!asked());
    }
}
