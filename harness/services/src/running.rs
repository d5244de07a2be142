//! A server as a process of this machine: started, watched until it answers, ended with all it left.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::endpoint::Endpoint;
use crate::kind::Kind;
use crate::options::Options;
use crate::owner::Owner;
use crate::process::{self, Signal};
use crate::record::Record;
use crate::user::Runner;
use crate::{Error, folder};

/// How long a server may take to its first answer; a loaded machine is slow, a broken server dies instead.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How often a server is started again because somebody took its port between choosing and binding.
const PORT_ATTEMPTS: u32 = 5;

/// A process, its log and its record. Dropping it ends the process and removes its data.
#[derive(Debug)]
pub(crate) struct Running {
    kind: Kind,
    child: Option<Child>,
    pid: u32,
    pub(crate) record: Record,
    log: PathBuf,
    program: String,
}

/// The signal that ends a server at once and lets it clean up: PostgreSQL removes its shared memory on SIGQUIT.
pub(crate) fn quick_end(kind: Kind) -> Signal {
    match kind {
        Kind::Postgres => Signal::SIGQUIT,
        Kind::Redis | Kind::PgBouncer | Kind::Etcd | Kind::ZooKeeper | Kind::DynamoDb => Signal::SIGKILL,
    }
}

impl Running {
    /// Starts what `command` makes for a port, on a free one, and waits for its first answer at what `endpoint` makes
    /// for that port.
    pub(crate) async fn start(
        record: Record,
        options: &Options,
        runner: &Runner,
        command: impl Fn(u16) -> Command,
        endpoint: impl Fn(u16) -> Endpoint,
    ) -> Result<(Running, Endpoint, String), Error> {
        let mut attempt = 1;
        loop {
            let port =
                free_port().map_err(|source| Error::folder(&record.data, "find a free port for", source))?;
            let (command, endpoint) = (command(port), endpoint(port));
            let mut running = Running::spawn(record.clone(), options, runner, command)?;
            match running.until_ready(&endpoint).await {
                Ok(version) => return Ok((running, endpoint, version)),
                Err(Error::Died { log, .. }) if port_was_taken(&log) && attempt < PORT_ATTEMPTS => {
                    // The data are still wanted: without its process, dropping it removes nothing.
                    running.kill();
                    running.child = None;
                    attempt += 1;
                }
                Err(error) => {
                    running.end();
                    return Err(error);
                }
            }
        }
    }

    /// Spawns the process, and writes down its number.
    pub(crate) fn spawn(
        mut record: Record,
        options: &Options,
        runner: &Runner,
        mut command: Command,
    ) -> Result<Running, Error> {
        let (kind, log) = (record.kind, record.data.join("server.log"));
        let program = command.get_program().to_string_lossy().into_owned();
        let output = File::options().create(true).append(true).open(&log);
        let outputs = output.and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = outputs.map_err(|source| Error::folder(&log, "write", source))?;
        command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .current_dir(&record.data);
        runner.apply(&mut command);
        let spawned = if options.detached {
            process::in_own_group(&mut command);
            command.spawn()
        } else {
            process::spawn(command, quick_end(kind))
        };
        let child = spawned.map_err(|error| Error::Died {
            kind,
            program: program.clone(),
            status: format!("it cannot be started: {error}"),
            log: String::new(),
            next: kind.install_command(),
        })?;
        let pid = child.id();
        record.process = Owner::of(pid);
        record.write()?;
        Ok(Running {
            kind,
            child: Some(child),
            pid,
            record,
            log,
            program,
        })
    }

    /// Asks until the server answers, more and more slowly, and watches it die meanwhile.
    pub(crate) async fn until_ready(&mut self, endpoint: &Endpoint) -> Result<String, Error> {
        let (start, mut pause) = (Instant::now(), Duration::from_millis(4));
        loop {
            let answer = endpoint.probe().await;
            // After the probe: an answer on our port from a stranger means that our server could not bind it.
            if let Some(status) = self.exited() {
                return Err(self.died(status));
            }
            match answer {
                Ok(version) => return Ok(version),
                Err(last) if start.elapsed() > READY_WITHIN => {
                    let (kind, program, log) = (self.kind, self.program.clone(), self.last_lines());
                    return Err(Error::Silent {
                        kind,
                        program,
                        waited: start.elapsed(),
                        last,
                        log,
                    });
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 3 / 2).min(Duration::from_millis(100));
        }
    }

    /// The exit status, once there is one.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    fn died(&self, status: ExitStatus) -> Error {
        let log = self.last_lines();
        if log.contains("No space left on device") {
            return Error::no_space("the server's data", &self.record.data, 64 << 20);
        }
        let status = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => status.to_string(),
        };
        let next = if log.contains("could not access file \"pg_stat_statements\"") {
            "install PostgreSQL's contrib package (`postgresql-contrib`)".to_owned()
        } else {
            format!(
                "read the log above; another build of it may be had by: {}",
                self.kind.install_command()
            )
        };
        Error::Died {
            kind: self.kind,
            program: self.program.clone(),
            status,
            log,
            next,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn last_lines(&self) -> String {
        last_lines(&std::fs::read(&self.log).unwrap_or_default())
    }

    /// Sends `signal` to the server alone and waits, `at_most`, until it has ended. Whether it has.
    pub(crate) fn ask_to_end(&mut self, signal: Signal, at_most: Duration) -> bool {
        if let Ok(pid) = i32::try_from(self.pid) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
        }
        let start = Instant::now();
        while self.exited().is_none() {
            if start.elapsed() > at_most {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// Ends the process; the data stay.
    fn kill(&mut self) {
        if self.child.is_none() || self.exited().is_some() {
            return;
        }
        if !self.ask_to_end(quick_end(self.kind), Duration::from_secs(5)) {
            process::signal_group(self.pid, Signal::SIGKILL);
        }
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
    }

    /// Ends the process and removes its data.
    pub(crate) fn end(&mut self) {
        self.kill();
        if self.child.take().is_some() {
            self.record.close();
        }
    }

    /// Lets go of the process, which goes on.
    pub(crate) fn leave(mut self) -> Result<Record, Error> {
        self.record.detached = true;
        self.record.write()?;
        self.child = None;
        Ok(self.record.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends a server that was left running by another process, politely first. Its data are removed by the caller.
pub(crate) fn end_stranger(kind: Kind, process: &Owner) {
    use crate::owner::Life;
    let signals = [quick_end(kind), Signal::SIGKILL];
    for signal in signals {
        if process.life() != Life::Alive {
            return;
        }
        process::signal_group(process.pid, signal);
        let start = Instant::now();
        while process.life() == Life::Alive && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The end of a log, for an error: twelve lines at most.
pub(crate) fn last_lines(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

pub(crate) fn port_was_taken(log: &str) -> bool {
    let log = log.to_ascii_lowercase();
    log.contains("address already in use") || log.contains("address in use")
}

/// A port of the loopback interface that was free a moment ago.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Whether `needed` bytes fit beside `path`; told before the server fails in the middle of something.
pub(crate) fn expect_space(what: &str, path: &Path, needed: u64) -> Result<(), Error> {
    match folder::free_bytes(path) {
        Some(free) if free < needed => Err(Error::no_space(what, path, needed)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        "LOG:  could not bind IPv4 address \"127.0.0.1\": Address already in use",
        true
    )]
    #[case(
        "# Warning: Could not create server TCP listening socket 127.0.0.1:1: bind: Address already in use",
        true
    )]
    #[case("listen tcp 127.0.0.1:1: bind: address already in use", true)]
    #[case("java.net.BindException: Address already in use", true)]
    #[case("FATAL:  could not access file \"pg_stat_statements\"", false)]
    fn a_port_taken_meanwhile_is_recognised_in_each_servers_words(#[case] log: &str, #[case] taken: bool) {
        assert_eq!(port_was_taken(log), taken);
    }

    #[test]
    fn the_end_of_a_log_is_kept() {
        let log: String = (1..=40).map(|n| format!("line {n}\n\n")).collect();
        let end = last_lines(log.as_bytes());
        assert!(end.starts_with("line 29\n") && end.ends_with("line 40"), "{end}");
        assert_eq!(last_lines(b""), "");
    }
}
