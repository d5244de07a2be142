//! Replicas of a service as processes of their own: the check's own program, started again for one of its tests.
//!
//! ```ignore
//! #[test]
//! fn three_replicas_share_the_work() {
//!     if replica::is_one() {
//!         return replica::serve(answer);
//!     }
//!     check!(async |cx: &Check| {
//!         let mut one = Replica::start(cx, "three_replicas_share_the_work").await?;
//!         let answer: Answer = one.ask(&Question::Work).await?;
//!         …
//!     });
//! }
//! ```
//!
//! Questions and answers are lines of JSON over a socket that the child finds at its standard input. A replica ends with
//! its handle, and with the check's process however that ends.
//!
//! Costs a process and a runtime with two workers for each. Cannot see: what a replica does between two questions.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::sys::{prctl, signal};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use verdict::wire::CHECK_VARIABLE;

use crate::{Check, Failure};

const VARIABLE: &str = "WAR_STORIES_REPLICA";

/// A process that runs what is graded. Dropping it kills the process.
#[derive(Debug)]
pub struct Replica {
    child: Child,
    stream: BufReader<UnixStream>,
}

impl Replica {
    /// Starts this program again, for the test of that name only.
    ///
    /// # Errors
    /// Environment: there is no process to be had.
    pub async fn start(cx: &Check, test: &str) -> Result<Replica, Failure> {
        let test = test.to_owned();
        // A child is bound to the thread that started it, and the harness's lives as long as the process.
        let started = cx.harness_spawn(async move { spawn(&test) }).join().await;
        let (child, ours) = started
            .unwrap_or_else(|| Err(io::Error::other("the harness is gone")))
            .map_err(|error| Failure::environment(format!("failed to start a replica: {error}")))?;
        let stream = UnixStream::from_std(ours)
            .map_err(|error| Failure::environment(format!("failed to talk to a replica: {error}")))?;
        Ok(Replica {
            child,
            stream: BufReader::new(stream),
        })
    }

    /// Asks, and waits for the answer as long as it takes.
    ///
    /// # Errors
    /// The process has ended.
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(&mut self, question: &Q) -> Result<A, Failure> {
        self.exchange(question)
            .await
            .map_err(|error| Failure::new(format!("a replica's process ended: {error}")))
    }

    async fn exchange<Q: Serialize, A: DeserializeOwned>(&mut self, question: &Q) -> io::Result<A> {
        let mut line = serde_json::to_vec(question)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).await?;
        let mut answer = String::new();
        if self.stream.read_line(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&answer)?)
    }

    /// Stops the process where it stands, as a long pause of its machine would. It stands when this returns.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        // The signal is only on its way. Without reaping: a process that has ended is left to `kill`.
        let stood = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        if let Some(pid) = self.pid() {
            while waitid(Id::Pid(pid), stood) == Err(Errno::EINTR) {}
        }
    }

    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// The process is gone when this returns.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    fn signal(&self, signal: signal::Signal) {
        if let Some(pid) = self.pid() {
            kill(pid, signal).ok();
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().map(Pid::from_raw)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(test: &str) -> io::Result<(Child, StdStream)> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new(std::env::current_exe()?)
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(VARIABLE, "1")
        .env_remove(CHECK_VARIABLE)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok((child, ours))
}

/// Whether this process was started to be a replica.
pub fn is_one() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Answers questions, one after the other, until nobody is left to ask; then ends the process.
///
/// # Panics
/// When this process was not started by [`Replica::start`], or is asked what it does not understand.
pub fn serve<Q: DeserializeOwned, A: Serialize>(answer: impl AsyncFn(Q) -> A) {
    prctl::set_pdeathsig(Signal::SIGKILL).ok();
    let served = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(converse(answer)));
    match served {
        Ok(()) => std::process::exit(0),
        Err(error) => panic!("a replica cannot serve: {error}"),
    }
}

async fn converse<Q: DeserializeOwned, A: Serialize>(answer: impl AsyncFn(Q) -> A) -> io::Result<()> {
    // The duplicate is closed on exec, and the original makes room, so that nobody inherits the socket.
    let stream = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    nix::unistd::dup2_stdin(&std::fs::File::open("/dev/null")?)?;
    stream.set_nonblocking(true)?;
    let mut stream = BufReader::new(UnixStream::from_std(stream)?);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let mut told = serde_json::to_vec(&answer(serde_json::from_str(&line)?).await)?;
        told.push(b'\n');
        stream.get_mut().write_all(&told).await?;
        line.clear();
    }
    Ok(())
}
