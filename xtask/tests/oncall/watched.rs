//! A service that is being watched, and what a test asks it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A cold build of a program, on a busy machine.
const STARTED_MAX: Duration = Duration::from_secs(900);
/// Between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(100);

static TURN: Mutex<()> = Mutex::new(());

/// `cargo xtask incident`, until it is dropped.
pub struct Watched {
    child: Child,
    /// `http://127.0.0.1:8080`
    pub url: String,
    pub said: mpsc::Receiver<String>,
    agent: ureq::Agent,
    _turn: MutexGuard<'static, ()>,
}

impl Watched {
    /// Waits until the page is served.
    pub fn start(words: &[&str]) -> Watched {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = incident(words).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, said) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let begun = Instant::now();
        let url = loop {
            let left = STARTED_MAX.saturating_sub(begun.elapsed());
            match said.recv_timeout(left) {
                Ok(line) if line.trim().starts_with("http://") => {
                    break line.trim().trim_end_matches('/').to_owned();
                }
                Ok(_) => {}
                Err(error) => panic!("cargo xtask incident {words:?} serves no page: {error}"),
            }
        };
        Watched {
            child,
            url,
            said,
            agent: agent(Duration::from_secs(60)),
            _turn: turn,
        }
    }

    /// Status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path)
            .unwrap_or_else(|| panic!("{path}: nobody answers"))
    }

    /// Nothing while nobody answers.
    pub fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let mut answer = self.agent.get(format!("{}{path}", self.url)).call().ok()?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        std::io::copy(&mut answer.body_mut().as_reader(), &mut body).ok()?;
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// A series of `/metrics`, by its whole name.
    pub fn figure(&self, series: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line?.trim().parse().ok()
    }

    /// Waits until a series is as it should be.
    pub fn until(&self, series: &str, deadline: Duration, fulfilled: impl Fn(f64) -> bool) -> f64 {
        let mut last = None;
        await_that(&format!("{series} as expected"), deadline, || {
            last = self.figure(series);
            last.filter(|value| fulfilled(*value))
        })
    }

    /// As on Ctrl-C; whether it ended well.
    pub fn interrupt(&mut self) -> std::process::ExitStatus {
        signal(&self.child);
        self.child.wait().unwrap()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            signal(&self.child);
            self.child.wait().ok();
        }
    }
}

fn signal(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).ok();
}

pub fn incident(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .arg("incident")
        .args(words)
        .env("WAR_STORIES_SERVICES", "local")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    command
}

pub fn agent(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .build()
        .into()
}

/// Waits until `look` has something.
pub fn await_that<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < deadline, "{what}: not within {deadline:?}");
        std::thread::sleep(LOOK);
    }
}

/// The first of `names` that is on PATH; says so when there is none.
pub fn tool(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: {} is not installed", names.join(" or "));
    }
    found
}
