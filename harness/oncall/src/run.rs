//! A watched program from its beginning to its end.

use std::fmt::Display;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use harness::Check;
use nix::sys::signal::{SigSet, Signal};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

use crate::calls::Calls;
use crate::chart::{self, Chart};
use crate::reading::{self, History, Reading};
use crate::series::Registry;
use crate::server::{self, Looked};
use crate::shift::{Inner, Shift};
use crate::{heap, keep, process, tasks};

/// Between two lines of figures in the terminal.
const TELL_EVERY: Duration = Duration::from_secs(3);
/// When the heap is remembered as it should be.
const NORMAL_AFTER: Duration = Duration::from_secs(4);
/// Threads that the service runs on, whatever the machine has: so it is as crowded everywhere.
const WORKERS: usize = 2;
/// How much longer than its traffic it all may take: databases are filled before there is any.
const SET_UP_MAX: Duration = Duration::from_secs(120);
/// What a line in the terminal has room for.
const COLUMNS: usize = 80;
/// How long the service may take to end.
const END_MAX: Duration = Duration::from_secs(2);

/// What is watched; [`incident!`](crate::incident) makes one.
#[derive(Clone, Copy, Debug)]
pub struct Incident {
    /// The hidden crate's folder.
    pub room: &'static str,
    /// The exercise's README, which begins with the page.
    pub readme: &'static str,
    pub reference: bool,
}

/// What the command line asks for. `cargo xtask incident` passes all of it.
#[derive(Clone, Debug, PartialEq)]
struct Flags {
    lasts: Duration,
    port: u16,
    /// Where what was seen is kept.
    keep: Option<PathBuf>,
    /// In a container: the pipe to whoever started it, by its path, and what became of those before.
    pipe: Option<PathBuf>,
    restarts: u32,
    ended: Option<String>,
    /// Off, nothing looks at the service: to learn what looking costs.
    watched: bool,
}

impl Flags {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Flags, String> {
        let mut flags = Flags {
            lasts: Duration::from_secs(600),
            port: 0,
            keep: None,
            pipe: None,
            restarts: 0,
            ended: None,
            watched: true,
        };
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
            let wrong = |_| format!("{word}: `{value}` is no whole number");
            match word.as_str() {
                "--for-s" => flags.lasts = Duration::from_secs(value.parse().map_err(wrong)?),
                "--port" => flags.port = value.parse().map_err(wrong)?,
                "--keep" => flags.keep = Some(value.into()),
                "--pipe" => flags.pipe = Some(value.into()),
                "--restarts" => flags.restarts = value.parse().map_err(wrong)?,
                "--ended" => flags.ended = Some(value),
                "--watched" => flags.watched = value != "no",
                _ => {
                    return Err(format!(
                        "{word} is none of --for-s, --port, --keep, --pipe, --restarts, --ended, --watched"
                    ));
                }
            }
        }
        Ok(flags)
    }
}

/// Runs `traffic` against the service until it ends, which it does after [`Shift::lasts`], or somebody ends it, and serves what there is to
/// see meanwhile.
pub fn run<F, E>(incident: Incident, traffic: impl FnOnce(Shift) -> F) -> ExitCode
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display,
{
    match incident.run(traffic) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

impl Incident {
    fn run<F, E>(self, traffic: impl FnOnce(Shift) -> F) -> Result<(), String>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let flags = Flags::read(std::env::args().skip(1))?;
        // Before there is another thread: all of them leave these signals to the one that waits for them.
        ends()
            .thread_block()
            .map_err(|error| format!("failed to block signals: {error}"))?;
        if let Some(path) = &flags.pipe {
            std::os::unix::net::UnixStream::connect(path)
                .and_then(|pipe| Ok(nix::unistd::dup2_stdin(&pipe)?))
                .map_err(|error| format!("failed to reach {}: {error}", path.display()))?;
        }
        let check = Check::watched().map_err(|error| {
            format!("failed to hear from cargo xtask incident, which starts this: {error}")
        })?;
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(WORKERS)
            .thread_name("service")
            .enable_all();
        heap::record(flags.watched);
        if flags.watched {
            tasks::watch(&mut builder);
        }
        let service = builder
            .build()
            .map_err(|error| format!("failed to start the service's runtime: {error}"))?;
        let (watching, oncall) = watcher()?;
        let shift = self.shift(check, &flags, &service, oncall);
        chart::standard(&shift);
        if flags.pipe.is_some() {
            chart::restarts(&shift, flags.restarts);
        }
        let history = History::default();
        if flags.watched {
            // What is read for the first look takes more memory than somebody has who has little.
            let address = serve(&shift, &history, flags.port, flags.pipe.is_none())?;
            say(&self.opening(&shift, address));
        }
        let traffic = traffic(shift.clone());
        let traffic = service.spawn(async move { traffic.await.map_err(|error| error.to_string()) });
        let ended = self.watch(&shift, &history, flags.lasts, traffic);
        say(&closing(&shift));
        let kept = match &flags.keep {
            Some(folder) => keep::keep(folder, &shift, &history.all()),
            None => Ok(()),
        };
        // A service that hangs is left hanging: the process ends now.
        service.shutdown_timeout(END_MAX);
        drop(watching);
        ended.and(kept)
    }

    fn shift(self, check: Check, flags: &Flags, service: &Runtime, oncall: Handle) -> Shift {
        let (title, page) = page_of(self.readme);
        let room = std::path::Path::new(self.room);
        let scenario = room
            .parent()
            .and_then(|exercise| exercise.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        Shift(Arc::new(Inner {
            check: Arc::new(check),
            lasts: flags.lasts,
            restarts: flags.restarts,
            ended: flags.ended.clone(),
            begun: Instant::now(),
            begun_s: process::now_s(),
            scenario,
            title,
            page,
            reference: self.reference,
            calls: Calls::default(),
            series: Registry::default(),
            charts: Mutex::default(),
            views: Mutex::default(),
            over: Notify::new(),
            service: service.handle().clone(),
            oncall,
        }))
    }

    fn opening(self, shift: &Shift, address: SocketAddr) -> String {
        let mut text = format!("{}\n\n", shift.0.title);
        for paragraph in &shift.0.page {
            let wide = textwrap::Options::new(COLUMNS - 1)
                .initial_indent("  ")
                .subsequent_indent("  ");
            text.push_str(&textwrap::fill(&paragraph.replace("**", ""), wide));
            text.push('\n');
        }
        let watched = if self.reference {
            "the reference"
        } else {
            "the exercise"
        };
        text.push_str(&format!(
            "\nwatching {watched} for {} s, seed {}; Ctrl-C ends it\n  http://{address}/\n",
            shift.0.lasts.as_secs(),
            shift.seed()
        ));
        text
    }

    /// Tells figures until it is over.
    fn watch(
        self,
        shift: &Shift,
        history: &History,
        lasts: Duration,
        traffic: tokio::task::JoinHandle<Result<(), String>>,
    ) -> Result<(), String> {
        let (sender, over) = mpsc::channel();
        let interrupted = sender.clone();
        let asked = shift.clone();
        shift.0.oncall.spawn(async move {
            let ended = tokio::select! {
                ended = traffic => match ended {
                    Ok(ended) => ended,
                    Err(error) => Err(format!("the traffic ended early: {error}")),
                },
                // By whoever asks: a service whose threads are all blocked does not get as far.
                () = asked.0.over.notified() => Ok(()),
                () = tokio::time::sleep(lasts + SET_UP_MAX) => Ok(()),
            };
            sender.send(ended).ok();
        });
        thread("oncall-signals", move || {
            ends().wait().ok();
            interrupted.send(Ok(())).ok();
        })?;
        loop {
            match over.recv_timeout(TELL_EVERY) {
                Ok(ended) => return ended,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if let Some(line) = figures(shift, &history.all()) {
                        say(&format!("{line}\n"));
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}

/// A runtime on a thread of its own, for whatever looks at the service. It ends when the sender is dropped.
fn watcher() -> Result<(tokio::sync::oneshot::Sender<()>, Handle), String> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_name("oncall")
        .build()
        .map_err(|error| format!("failed to start the watching runtime: {error}"))?;
    let handle = runtime.handle().clone();
    let (watching, ended) = tokio::sync::oneshot::channel();
    thread("oncall", move || {
        heap::exempt_current_thread();
        runtime.block_on(ended).ok();
    })?;
    Ok((watching, handle))
}

fn serve(shift: &Shift, history: &History, port: u16, warm: bool) -> Result<SocketAddr, String> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| format!("failed to listen on 127.0.0.1:{port}: {error}; --port chooses another"))?;
    let address = listener
        .local_addr()
        .map_err(|error| format!("failed to learn the port: {error}"))?;
    let normal: Arc<OnceLock<Vec<heap::Site>>> = Arc::default();
    let looked = Looked {
        shift: shift.clone(),
        history: history.clone(),
        normal: normal.clone(),
    };
    // Debug information is read when somebody looks for the first time, which takes longer than somebody wants to wait.
    if warm {
        thread("oncall-warm", || {
            heap::exempt_current_thread();
            harness::stuck::threads();
        })?;
    }
    shift.0.oncall.spawn(async move {
        tokio::time::sleep(NORMAL_AFTER).await;
        normal.set(heap::sites()).ok();
    });
    shift.0.oncall.spawn(async move {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => axum::serve(listener, server::router(looked))
                .await
                .unwrap_or_default(),
            Err(error) => eprintln!("error: failed to serve: {error}"),
        }
    });
    let (shift, history) = (shift.clone(), history.clone());
    thread("oncall-reader", move || reading::keep(shift, history))?;
    Ok(address)
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| format!("failed to start a thread: {error}"))
}

/// Ctrl-C, a polite end, or the terminal's: what ends the process otherwise.
fn ends() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect()
}

/// The figures that tell most, as many as a line has room for: requests, and then what is peculiar to the scenario.
fn figures(shift: &Shift, readings: &[Arc<Reading>]) -> Option<String> {
    let last = &readings[readings.len().checked_sub(2)?..];
    let (before, now) = (&last[0], &last[1]);
    let told = |chart: &Chart, place: usize| {
        let value = chart.lines.get(place)?.source.value(before, now)?;
        Some(chart.unit.shown(value))
    };
    let charts = shift.charts();
    let (own, standard): (Vec<&Chart>, Vec<&Chart>) = charts.iter().partition(|chart| chart.own);
    let mut line = format!("{:>4.0} s", shift.0.begun.elapsed().as_secs_f64());
    if let [requests, latency, ..] = standard.as_slice() {
        let words = [
            told(requests, 0).map(|rate| format!("  {rate}/s")),
            told(requests, 1).map(|rate| format!("  {rate}/s failed")),
            told(latency, 1).map(|p99| format!("  p99 {p99}")),
        ];
        line.extend(words.into_iter().flatten());
    }
    let rest = ["Memory", "Tasks of the runtime"];
    let rest = rest
        .iter()
        .filter_map(|title| standard.iter().find(|chart| chart.title == *title));
    for chart in own.iter().chain(rest) {
        let mut last = "";
        for (place, label) in chart.lines.iter().enumerate() {
            // Of lines that differ by their labels, the first.
            let name = std::mem::replace(&mut last, label.name());
            let Some(value) = told(chart, place).filter(|_| name != last) else {
                continue;
            };
            let word = format!("  {last} {value}");
            if line.chars().count() + word.chars().count() < COLUMNS {
                line.push_str(&word);
            }
        }
    }
    Some(line)
}

fn closing(shift: &Shift) -> String {
    let totals = shift.0.calls.totals();
    format!(
        "ended after {:.0} s: {} requests answered, {} of them with an error,\n{} without an answer; {:.2} s of \
         processor time\n",
        shift.0.begun.elapsed().as_secs_f64(),
        totals.answered(),
        totals.failed(),
        totals.waiting,
        process::cpu_s()
    )
}

/// A terminal that has gone hears nothing, and is no reason to panic.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

/// The title and the page: the README's first heading, and its first quotation by paragraphs.
fn page_of(readme: &str) -> (String, Vec<String>) {
    let title = readme
        .lines()
        .find_map(|line| line.strip_prefix("# "))
        .unwrap_or("An incident")
        .to_owned();
    let quoted = readme
        .lines()
        .skip_while(|line| !line.starts_with('>'))
        .take_while(|line| line.starts_with('>'))
        .map(|line| line.trim_start_matches('>').trim());
    let mut paragraphs = vec![String::new()];
    for line in quoted {
        match (line.is_empty(), paragraphs.last_mut()) {
            (true, _) | (_, None) => paragraphs.push(String::new()),
            (false, Some(last)) if last.is_empty() => last.push_str(line),
            (false, Some(last)) => {
                last.push(' ');
                last.push_str(line);
            }
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    (title, paragraphs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_the_readmes_first_quotation() {
        let readme = "# The Leak\n\n> **PAGE** it\n> broke\n>\n> again\n\nText\n\n> not this";
        let (title, page) = page_of(readme);
        assert_eq!(title, "The Leak");
        assert_eq!(page, ["**PAGE** it broke", "again"]);
    }

    #[test]
    fn flags_are_read() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>().into_iter();
        let flags = Flags::read(words("--for-s 20 --port 9090")).unwrap();
        assert_eq!((flags.lasts, flags.port), (Duration::from_secs(20), 9090));
        assert!(Flags::read(words("--for-s soon")).unwrap_err().contains("soon"));
        assert!(Flags::read(words("--what 3")).is_err());
    }
}
