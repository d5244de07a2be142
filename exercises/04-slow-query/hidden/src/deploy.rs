use std::time::{Duration, Instant};

use harness::{Failure, OrObserved, eventually};
use pgwire::Client;
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::stage::{Stage, ours};
use crate::subject::{self, MigrateError};
use crate::traffic;

/// Liveness only; a deploy on a small table takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(20);

/// What PostgreSQL answers when a statement gave up waiting for a lock, or was told to.
const GAVE_UP: [&str; 2] = ["55P03", "57014"];

/// `migrate`, running.
pub struct Deploy {
    task: JoinHandle<Result<(), MigrateError>>,
    gave_up_before: u64,
}

/// How far a deploy has come.
#[derive(Debug)]
pub enum Step {
    /// It waits for an open transaction, and nobody waits for it: a statement of its kind lets writers pass.
    Aside { statement: String },
    /// It waits for a lock on a table, so that whoever writes next has to wait behind it.
    InLine { statement: String },
    /// It waited for a lock and gave up for now.
    GaveUp,
    Ended(Result<(), MigrateError>),
}

impl Deploy {
    pub async fn start(stage: &Stage) -> Result<Deploy, Failure> {
        let pool: PgPool = stage.pool(2).await?;
        Ok(Deploy {
            gave_up_before: gave_up(stage),
            task: tokio::spawn(async move {
                let outcome = subject::migrate(&pool).await;
                pool.close().await;
                outcome
            }),
        })
    }

    /// Waits until the deploy waits for `writer`, has given up waiting, or has ended.
    pub async fn next_step(&mut self, stage: &mut Stage, writer: &Writer) -> Result<Step, Failure> {
        let begun = Instant::now();
        let question = format!(
            "SELECT l.locktype, a.query FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted \
             WHERE a.datname = current_database() AND a.usename = '{}' AND {} = ANY(pg_blocking_pids(a.pid))",
            stage.pg.role(),
            writer.session.pid(),
        );
        while begun.elapsed() < DEADLINE {
            if self.task.is_finished() {
                return Ok(Step::Ended(self.outcome().await?));
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
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Err(Failure::new(format!(
            "a deploy that nothing was in the way of had not ended after {DEADLINE:?}"
        )))
    }

    /// Waits for the end, when no transaction is in the way any more.
    pub async fn end(mut self) -> Result<Result<(), MigrateError>, Failure> {
        harness::within(DEADLINE, "the end of a deploy that nothing is in the way of", self.outcome()).await?
    }

    /// Ends the deploy as a killed process ends it: nothing of it runs on, and its sessions are gone.
    pub async fn kill(self, stage: &mut Stage) -> Result<(), Failure> {
        self.task.abort();
        let sessions = format!(
            "FROM pg_stat_activity WHERE datname = current_database() AND usename = '{}'",
            stage.pg.role()
        );
        let kill = format!("SELECT pg_terminate_backend(pid) {sessions}");
        let left = format!("SELECT count(*) {sessions}");
        eventually(DEADLINE, "the end of a killed deploy's sessions", async || {
            stage.ask(&kill).await.ok()?;
            let sessions_left: u32 = stage.ask_one(&left).await.ok()?;
            (sessions_left == 0).then_some(())
        })
        .await
    }

    async fn outcome(&mut self) -> Result<Result<(), MigrateError>, Failure> {
        (&mut self.task).await.or_observed("migrate panicked")
    }
}

fn gave_up(stage: &Stage) -> u64 {
    let counts = stage.tap().counts();
    GAVE_UP.iter().map(|state| counts.sqlstate(state)).sum()
}

/// A statement as one line of evidence.
fn one_line(statement: &str) -> String {
    let lines = statement.lines().map(str::trim).filter(|line| !line.starts_with("--"));
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
            Err(error) if error.sqlstate() == Some(GAVE_UP[0]) => Ok(None),
            Err(error) => Err(Failure::new(format!("a sign-up failed during the deploy: {error}"))),
        }
    }

    pub async fn commit(mut self) -> Result<(), Failure> {
        self.session.execute("COMMIT").await.or_observed("a sign-up failed to commit during the deploy")?;
        self.session.close().await.map_err(ours)
    }
}
