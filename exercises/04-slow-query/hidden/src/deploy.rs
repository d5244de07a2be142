use std::time::{Duration, Instant};

use harness::{Failure, OrObserved, eventually};
use pgwire::Client;
use tokio::sync::oneshot;

use crate::stage::{self, Stage, ours};
use crate::subject;
use crate::traffic;

/// Liveness only; a deploy on a small table takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(15);

/// What PostgreSQL answers to a statement that gave up waiting for a lock, or was told to.
const GAVE_UP: [&str; 2] = ["55P03", "57014"];

/// `migrate`, running as a process of its own would: on a thread and a runtime that nothing else needs.
pub struct Deploy {
    outcome: oneshot::Receiver<Result<(), String>>,
    ended: Option<Result<(), String>>,
    /// Dropping it kills the deploy.
    alive: oneshot::Sender<()>,
    gave_up_before: u64,
}

/// How far a deploy has come.
#[derive(Clone, Debug)]
pub enum Step {
    /// It waits for an open transaction, and holds no place in a line: a statement of its kind lets writers pass.
    Aside {
        statement: String,
    },
    /// It waits for a lock on a table, and whoever writes next has to wait behind it.
    InLine {
        statement: String,
    },
    /// It waited for a lock and gave up for now.
    GaveUp,
    Ended(Result<(), String>),
}

impl Deploy {
    pub fn start(stage: &Stage) -> Result<Deploy, Failure> {
        let (told, outcome) = oneshot::channel();
        let (alive, killed) = oneshot::channel::<()>();
        let url = stage.pg.url();
        std::thread::Builder::new()
            .name("deploy".to_owned())
            .spawn(move || {
                told.send(run(&url, killed)).ok();
            })
            .map_err(ours)?;
        Ok(Deploy {
            outcome,
            ended: None,
            alive,
            gave_up_before: gave_up(stage),
        })
    }

    /// Waits until the deploy waits for `writer`, has given up waiting, or has ended.
    pub async fn next_step(&mut self, stage: &mut Stage, writer: &Writer) -> Result<Step, Failure> {
        let question = format!(
            "SELECT l.locktype, a.query FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted \
             WHERE a.datname = current_database() AND a.usename = '{}' AND {} = ANY(pg_blocking_pids(a.pid))",
            stage.pg.role(),
            writer.session.pid(),
        );
        let begun = Instant::now();
        while begun.elapsed() < DEADLINE {
            match self.outcome.try_recv() {
                Ok(outcome) => {
                    self.ended = Some(outcome.clone());
                    return Ok(Step::Ended(outcome));
                }
                Err(oneshot::error::TryRecvError::Closed) => return Err(Failure::new("migrate panicked")),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let waiting = stage.ask(&question).await?;
            if let Some((lock, query)) = waiting.first().and_then(|row| Some((row.text(0)?, row.text(1)?))) {
                let statement = one_line(query);
                return Ok(match lock {
                    "virtualxid" | "transactionid" => Step::Aside { statement },
                    _ => Step::InLine { statement },
                });
            }
            let gave_up = gave_up(stage);
            if gave_up > self.gave_up_before {
                self.gave_up_before = gave_up;
                return Ok(Step::GaveUp);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err(Failure::new(format!(
            "a deploy had neither ended nor waited for the open sign-up after {DEADLINE:?}"
        )))
    }

    /// Waits for the end, when no transaction is in the way any more.
    pub async fn end(self) -> Result<Result<(), String>, Failure> {
        let Deploy {
            outcome,
            ended,
            alive,
            ..
        } = self;
        if let Some(ended) = ended {
            return Ok(ended);
        }
        let ended = harness::within(
            DEADLINE,
            "the end of a deploy that nothing is in the way of",
            outcome,
        )
        .await?;
        drop(alive);
        ended.or_observed("migrate panicked")
    }

    /// Ends the deploy as a killed process ends: nothing of it runs on, and its sessions are gone.
    pub async fn kill(self, stage: &mut Stage) -> Result<(), Failure> {
        let Deploy { outcome, alive, .. } = self;
        drop(alive);
        outcome.await.ok();
        let sessions = format!(
            "FROM pg_stat_activity WHERE datname = current_database() AND usename = '{}'",
            stage.pg.role()
        );
        let kill = format!("SELECT pg_terminate_backend(pid) {sessions}");
        let left = format!("SELECT count(*) {sessions}");
        eventually(DEADLINE, "the end of a killed deploy's sessions", async || {
            stage.ask(&kill).await.ok()?;
            let left: u32 = stage.ask_one(&left).await.ok()?;
            (left == 0).then_some(())
        })
        .await
    }
}

/// On the deploy's own thread, so that its future need not be one that can move between threads.
fn run(url: &str, killed: oneshot::Receiver<()>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let pool = stage::connect(url, 5).await.map_err(|error| error.to_string())?;
        tokio::select! {
            outcome = subject::migrate(&pool) => {
                pool.close().await;
                outcome.map_err(|error| error.to_string())
            }
            _ = killed => Err("killed".to_owned()),
        }
    })
}

fn gave_up(stage: &Stage) -> u64 {
    let counts = stage.tap().counts();
    GAVE_UP.iter().map(|state| counts.sqlstate(state)).sum()
}

/// A statement as one line of evidence.
pub fn one_line(statement: &str) -> String {
    let lines = statement
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("--"));
    lines.collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// A sign-up whose transaction stays open: it has written, and has not committed.
pub struct Writer {
    session: Client,
}

impl Writer {
    /// Signs somebody up, waiting for a lock for one second at most. `None` when that was not enough.
    pub async fn open(stage: &Stage, email: &str) -> Result<Option<Writer>, Failure> {
        let mut session = stage.pg.admin().await?;
        session
            .execute("BEGIN; SET LOCAL lock_timeout = '1s'")
            .await
            .map_err(ours)?;
        match session.execute(&traffic::sign_up("eu", email)).await {
            Ok(_) => Ok(Some(Writer { session })),
            Err(error) if error.sqlstate() == Some("55P03") => Ok(None),
            Err(error) => Err(Failure::new(format!(
                "a sign-up failed during the deploy: {error}"
            ))),
        }
    }

    /// The one who comes when nothing is in the way.
    pub async fn first(stage: &Stage, email: &str) -> Result<Writer, Failure> {
        Writer::open(stage, email)
            .await?
            .or_observed("a sign-up had to wait although nothing was deployed")
    }

    pub async fn commit(mut self) -> Result<(), Failure> {
        self.session
            .execute("COMMIT")
            .await
            .or_observed("a sign-up failed to commit during the deploy")?;
        self.session.close().await.map_err(ours)
    }
}
