//! Children that never outlive their parent: parent-death signal, process group, one thread that spawns.
//!
//! The kernel sends a parent-death signal when the *thread* that spawned the child ends, not when the process does. So
//! [`spawn`] hands the command to a thread of its own that lives as long as the process. This is the one file of the
//! crate with `unsafe`: the hook between fork and exec, and the exit handler.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;

use nix::sys::signal;
pub use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// Spawns `command` in a process group of its own, so that Ctrl-C in a terminal does not reach it, and so that it gets
/// `on_parent_death` when this process ends, in whatever way. (Linux; elsewhere only the group.)
///
/// # Errors
/// Those of [`Command::spawn`].
pub fn spawn(mut command: Command, on_parent_death: Signal) -> io::Result<Child> {
    struct Job {
        command: Command,
        reply: mpsc::Sender<io::Result<Child>>,
    }
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();

    end_with_parent(&mut command, on_parent_death);
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let work = move || {
            for mut job in inbox {
                // A caller that is gone gets no child: the channel is checked by sending.
                let _ = job.reply.send(job.command.spawn());
            }
        };
        thread::Builder::new()
            .name("spawner".into())
            .spawn(work)
            .expect("a thread can be started");
        Mutex::new(jobs)
    });
    let (reply, answer) = mpsc::channel();
    let gone = || io::Error::other("the spawning thread is gone");
    spawner
        .lock()
        .map_err(|_| gone())?
        .send(Job { command, reply })
        .map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// Makes `command` start in a process group of its own and get `signal` when the thread that spawns it ends (Linux).
/// For callers that spawn themselves, from a thread that lives as long as the process; others use [`spawn`].
pub fn end_with_parent(command: &mut Command, signal: Signal) {
    in_own_group(command);
    let parent = Pid::this();
    let hook = move || {
        #[cfg(target_os = "linux")]
        {
            nix::sys::prctl::set_pdeathsig(signal)?;
            // The parent may have died before the request above.
            if nix::unistd::getppid() != parent {
                return Err(nix::errno::Errno::ESRCH.into());
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (signal, parent);
        Ok(())
    };
    #[expect(
        unsafe_code,
        reason = "a parent-death signal can only be asked for between fork and exec"
    )]
    // SAFETY: the hook runs in the forked child, where only async-signal-safe calls are allowed: it makes two system
    // calls (prctl, getppid), touches captured integers only, and neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(hook);
    }
}

/// Makes `command` start in a process group of its own: a terminal's Ctrl-C does not reach it.
pub fn in_own_group(command: &mut Command) {
    command.process_group(0);
}

/// Sends `signal` to the whole group that `leader` leads, and to it alone when it has no group of its own.
pub fn signal_group(leader: u32, signal: Signal) {
    let Ok(pid) = i32::try_from(leader) else { return };
    if signal::killpg(Pid::from_raw(pid), signal).is_err() {
        let _ = signal::kill(Pid::from_raw(pid), signal);
    }
}

/// Runs `job` when the process ends by returning from `main` or by [`std::process::exit`], as the test harness does.
/// The job gets a thread of its own, since the exiting one has lost its thread-locals. Not run on a signal.
pub fn at_exit(job: fn()) {
    static JOBS: Mutex<Vec<fn()>> = Mutex::new(Vec::new());

    extern "C" fn run() {
        let jobs = JOBS
            .lock()
            .map(|mut jobs| std::mem::take(&mut *jobs))
            .unwrap_or_default();
        for job in jobs {
            let _ = thread::spawn(job).join();
        }
    }

    let Ok(mut jobs) = JOBS.lock() else { return };
    if jobs.is_empty() {
        #[expect(unsafe_code, reason = "the standard library has no exit handlers")]
        // SAFETY: `run` is a plain function that lives as long as the program and does not unwind: the jobs' panics
        // end in the thread that is joined.
        unsafe {
            nix::libc::atexit(run);
        }
    }
    jobs.push(job);
}

/// Resolves when the process is asked to end (Ctrl-C, SIGTERM, SIGHUP). A program that races its work against this and
/// drops the work leaves no container behind; without it the next run's [`recover`](crate::recover) removes them.
/// Needs a tokio runtime with the I/O driver.
///
/// # Errors
/// The signal handlers cannot be installed.
pub async fn interrupted() -> io::Result<Signal> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => Signal::SIGINT,
        _ = terminate.recv() => Signal::SIGTERM,
        _ = hangup.recv() => Signal::SIGHUP,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let mut child = thread::spawn(|| {
            let mut command = Command::new("sleep");
            command.arg("60");
            spawn(command, Signal::SIGKILL).unwrap()
        })
        .join()
        .unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it died with the thread");
        signal_group(child.id(), Signal::SIGTERM);
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_dies_with_the_thread_that_spawned_it() {
        let mut child = thread::spawn(|| {
            let mut command = Command::new("sleep");
            command.arg("60");
            end_with_parent(&mut command, Signal::SIGTERM);
            command.spawn().unwrap()
        })
        .join()
        .unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
    }

    #[test]
    fn what_cannot_be_spawned_is_an_error() {
        assert!(spawn(Command::new("/nonexistent/program"), Signal::SIGKILL).is_err());
    }
}
