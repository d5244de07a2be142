//! One check as a child process: started, listened to, ended.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{sleep_until, timeout};
use verdict::wire::{
    CHECK_VARIABLE, JUDGED_EXIT, Job, Judgement, LAST_WORDS_MAX, LINE_BYTES_MAX, PostgresJob, Stuck, VERSION,
};
use verdict::{Patience, Verdict};

use crate::evidence;
use crate::lend::Lender;
use crate::transcript::{Explanation, Transcript};

/// How long a program may take until its check has begun.
const START_MAX: Duration = Duration::from_secs(15);
/// No check may ask for more.
const DEADLINE_MAX: Duration = Duration::from_secs(180);
/// How long a judged check may take to end its process.
const EXIT_MAX: Duration = Duration::from_secs(5);
/// How much of what a check prints is kept, in bytes.
const OUTPUT_KEPT: usize = 8 << 10;
/// Lines of output that are told as evidence.
const OUTPUT_LINES_TOLD: usize = 6;

/// What to run.
pub struct Ask<'a> {
    pub program: &'a Path,
    /// libtest's name of it, modules included.
    pub test: &'a str,
    pub folder: &'a Path,
    pub seed: u64,
    pub sites: bool,
    pub postgres: Option<PostgresJob>,
    /// Has the servers that it asks for.
    pub lender: &'a Lender<'a>,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Told {
    pub judgement: Judgement,
    /// Its own watchdog gave it up.
    pub stuck: bool,
    pub measured: std::collections::BTreeMap<String, f64>,
    pub sites: std::collections::BTreeMap<String, Vec<verdict::wire::Site>>,
    /// Per metric, why it may be what it is.
    pub explained: std::collections::BTreeMap<String, Explanation>,
    /// Per metric, how it was measured.
    pub methods: std::collections::BTreeMap<String, String>,
    pub seconds: f64,
}

impl Told {
    /// A check that could not be run at all.
    pub fn missing(observed: String) -> Told {
        let judgement = Judgement {
            verdict: Verdict::Environment,
            observed,
            because: None,
            evidence: Vec::new(),
        };
        Told {
            judgement,
            stuck: false,
            measured: Default::default(),
            sites: Default::default(),
            explained: Default::default(),
            methods: Default::default(),
            seconds: 0.0,
        }
    }
}

/// Runs one check to its end, whatever that is.
pub async fn run(ask: Ask<'_>) -> Told {
    let begun = Instant::now();
    // The system seeds a hasher's keys, and nobody works out one of its values from another.
    let secret = RandomState::new();
    let nonce = format!("{:016x}{:016x}", secret.hash_one(0), secret.hash_one(1));
    let run = format!("{:016x}", secret.hash_one(2));
    let mut transcript = Transcript::new(nonce.clone(), ask.test.to_owned());
    let judgement = match converse(&ask, nonce, &run, &mut transcript).await {
        Ok(judgement) => judgement,
        Err(error) => Judgement {
            verdict: Verdict::Environment,
            observed: format!("failed to run {}: {error}", ask.program.display()),
            because: None,
            evidence: Vec::new(),
        },
    };
    let Transcript {
        measured,
        sites,
        explained,
        methods,
        stuck,
        ..
    } = transcript;
    Told {
        judgement,
        stuck: stuck.is_some(),
        measured,
        sites,
        explained,
        methods,
        seconds: begun.elapsed().as_secs_f64(),
    }
}

/// Why the listening stopped.
enum End {
    Said,
    /// The check's own watchdog has said that nothing happens any more.
    Stuck,
    Silent,
    Late,
    Forged(String),
}

async fn converse(
    ask: &Ask<'_>,
    nonce: String,
    run: &str,
    transcript: &mut Transcript,
) -> std::io::Result<Judgement> {
    let job = Job {
        version: VERSION,
        nonce,
        seed: ask.seed,
        sites: ask.sites,
        postgres: ask.postgres.clone(),
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut pipe = UnixStream::from_std(ours)?;
    let mut child = Command::new(ask.program)
        .args([
            ask.test,
            "--exact",
            "--nocapture",
            "--include-ignored",
            "--test-threads=1",
        ])
        .env_clear()
        .envs(
            ["PATH", "HOME", "TMPDIR", "LANG"]
                .into_iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .env(CHECK_VARIABLE, ask.test)
        .env(evidence::RUN_VARIABLE, run)
        .current_dir(ask.folder)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().unwrap_or_default();
    let stdout = Output::of(child.stdout.take());
    let stderr = Output::of(child.stderr.take());

    let mut line = serde_json::to_vec(&job)?;
    line.push(b'\n');
    // A child that is already gone is found out by listening.
    pipe.write_all(&line).await.ok();

    let listened = listen(&mut pipe, transcript, &mut child, ask.lender).await;
    let (status, threads) = match listened {
        End::Said => (timeout(EXIT_MAX, child.wait()).await.ok(), Vec::new()),
        End::Silent => (Some(child.wait().await), Vec::new()),
        End::Stuck => (None, Vec::new()),
        End::Late | End::Forged(_) => (None, evidence::threads(pid)),
    };
    if status.is_none() {
        evidence::kill_group(pid);
        child.wait().await.ok();
    }
    let left_behind = evidence::sweep_left_behind(pid, run);
    let output = [stderr.tail().await, stdout.tail().await].concat();
    Ok(judged(
        transcript,
        listened,
        status.transpose()?,
        threads,
        left_behind,
        output,
    ))
}

/// Reads until the check has said everything, says something that it never says, or is out of time.
async fn listen(
    pipe: &mut UnixStream,
    transcript: &mut Transcript,
    child: &mut tokio::process::Child,
    lender: &Lender<'_>,
) -> End {
    let mut deadline = Deadline::new();
    let mut buffer = Vec::new();
    let mut exited = false;
    loop {
        deadline.follow(transcript);
        let read = tokio::select! {
            biased;
            read = pipe.read_buf(&mut buffer) => read.unwrap_or(0),
            // What it said before it ended is still in the pipe: one more round.
            _ = child.wait(), if !exited => { exited = true; continue }
            // A process that it left behind may hold the pipe open.
            _ = tokio::time::sleep(Duration::from_millis(20)), if exited => 0,
            () = sleep_until(deadline.at()) => {
                if deadline.has_passed() {
                    return End::Late;
                }
                continue;
            }
        };
        if read == 0 {
            return if buffer.is_empty() {
                End::Silent
            } else {
                End::Forged("the check's pipe ended within a line".to_owned())
            };
        }
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if let Err(forged) = transcript.hear(&line[..end]) {
                return End::Forged(forged);
            }
        }
        if let Some(wanted) = transcript.wanted.take() {
            let asked = tokio::time::Instant::now();
            tokio::select! {
                answer = lender.lend(wanted) => {
                    let mut line = serde_json::to_vec(&answer).unwrap_or_default();
                    line.push(b'\n');
                    // A child that is already gone is found out by listening.
                    pipe.write_all(&line).await.ok();
                }
                // It ends while a server for it is being started: nobody needs that any more.
                _ = child.wait(), if !exited => exited = true,
            }
            deadline.waited += asked.elapsed();
        }
        if buffer.len() > LINE_BYTES_MAX {
            return End::Forged(format!(
                "a line of more than {LINE_BYTES_MAX} bytes on the check's pipe"
            ));
        }
        if transcript.stuck.is_some() {
            return End::Stuck;
        }
        if transcript.ended && buffer.is_empty() {
            return End::Said;
        }
    }
}

/// When a check is out of time: what it asked for, and longer while the machine is starved or a server of its is started.
struct Deadline {
    begun: tokio::time::Instant,
    patience: Patience,
    /// The check has said how long it may take.
    told: bool,
    waited: Duration,
}

impl Deadline {
    fn new() -> Deadline {
        Deadline {
            begun: tokio::time::Instant::now(),
            patience: Patience::new(START_MAX),
            told: false,
            waited: Duration::ZERO,
        }
    }

    fn follow(&mut self, transcript: &Transcript) {
        if let (Some(ms), false) = (transcript.deadline_ms, self.told) {
            self.patience = Patience::new(Duration::from_millis(ms).min(DEADLINE_MAX));
            self.told = true;
        }
    }

    fn at(&self) -> tokio::time::Instant {
        // Its own watchdog speaks first.
        self.begun + self.patience.limit() + self.waited + LAST_WORDS_MAX
    }

    fn has_passed(&self) -> bool {
        tokio::time::Instant::now() >= self.at()
    }
}

fn judged(
    transcript: &mut Transcript,
    end: End,
    status: Option<ExitStatus>,
    threads: Vec<String>,
    left_behind: Vec<String>,
    output: Vec<String>,
) -> Judgement {
    let fail = |observed: String, because: &str| Judgement {
        verdict: Verdict::Fail,
        observed,
        because: (!because.is_empty()).then(|| because.to_owned()),
        evidence: Vec::new(),
    };
    let stage = transcript
        .stage
        .as_ref()
        .map(|stage| format!("its last stage: {stage}"));
    let unjudged = !matches!(end, End::Said | End::Stuck);
    let mut judgement = match (end, transcript.judgement.take(), status) {
        (End::Said, Some(judgement), Some(status)) if status.code() == Some(JUDGED_EXIT) => judgement,
        (End::Said, _, Some(status)) => fail(
            format!("the process did not end as the harness ends it, but with {status}"),
            "Something in the process ended it before the harness could.",
        ),
        (End::Said, _, None) => fail(
            "the process was judged and did not end".to_owned(),
            "An exit handler hangs.",
        ),
        (End::Forged(what), ..) => fail(
            what,
            "Only the harness speaks on this pipe, so nothing of this check counts.",
        ),
        (End::Stuck, ..) => stuck(transcript.stuck.clone()),
        (End::Late, ..) => match transcript.deadline_ms {
            Some(ms) => fail(
                format!("the check did not end within its {} s", ms / 1000),
                "Something in it waits for what never comes.",
            ),
            None => fail(format!("the check did not begin within {START_MAX:?}"), ""),
        },
        (End::Silent, _, status) => {
            let how = status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
            fail(
                format!("the process ended before the check was judged ({how})"),
                "A check that never reached its end proves nothing, whatever the process said as it left.",
            )
        }
    };
    if judgement.verdict == Verdict::Pass && !left_behind.is_empty() {
        judgement = fail(
            "the check left processes behind".to_owned(),
            "What outlives its caller is nobody's any more.",
        );
    }
    if judgement.verdict != Verdict::Pass {
        judgement.evidence.extend(stage);
        judgement.evidence.extend(threads);
        judgement.evidence.extend(
            left_behind
                .into_iter()
                .map(|process| format!("left behind and killed: {process}")),
        );
        if unjudged {
            judgement
                .evidence
                .extend(output.into_iter().map(|line| format!("output: {line}")));
        }
    }
    judgement
}

/// A check that its watchdog gave up, as a judgement.
fn stuck(stuck: Option<Stuck>) -> Judgement {
    let Stuck {
        observed,
        because,
        evidence,
    } = stuck.unwrap_or_else(|| Stuck {
        observed: "the check is stuck".to_owned(),
        because: None,
        evidence: Vec::new(),
    });
    Judgement {
        verdict: Verdict::Fail,
        observed,
        because: because.or_else(|| Some("Something in it waits for what never comes.".to_owned())),
        evidence,
    }
}

/// Reads what a child prints to the end and keeps the last of it, so that a flood neither blocks nor fills anything.
struct Output(
    tokio::task::JoinHandle<()>,
    std::rc::Rc<std::cell::RefCell<VecDeque<u8>>>,
);

impl Output {
    fn of(stream: Option<impl AsyncRead + Unpin + 'static>) -> Output {
        let kept = std::rc::Rc::new(std::cell::RefCell::new(VecDeque::new()));
        let keeper = std::rc::Rc::clone(&kept);
        let task = tokio::task::spawn_local(async move {
            let Some(mut stream) = stream else { return };
            let mut chunk = vec![0; 16 << 10];
            while let Ok(read @ 1..) = stream.read(&mut chunk).await {
                let mut kept = keeper.borrow_mut();
                kept.extend(&chunk[..read]);
                let surplus = kept.len().saturating_sub(OUTPUT_KEPT);
                kept.drain(..surplus);
            }
        });
        Output(task, kept)
    }

    async fn tail(self) -> Vec<String> {
        let Output(mut task, kept) = self;
        if timeout(Duration::from_millis(200), &mut task).await.is_err() {
            task.abort();
        }
        let bytes: Vec<u8> = kept.borrow().iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        // libtest begins the line of a running test before the test prints.
        let own = |line: &'_ str| line.split_once(" ... ").map_or(line, |(_, rest)| rest).to_owned();
        let lines: Vec<String> = text
            .lines()
            .map(|line| {
                if line.starts_with("test ") {
                    own(line)
                } else {
                    line.to_owned()
                }
            })
            .filter(|line| !line.trim().is_empty() && !line.starts_with("running "))
            .collect();
        let from = lines.len().saturating_sub(OUTPUT_LINES_TOLD);
        lines[from..]
            .iter()
            .map(|line| line.chars().take(200).collect())
            .collect()
    }
}
