use std::time::{Duration, Instant};

use harness::postgres::{Gate, Kind, Rule, Verdict};
use harness::{Failure, OrObserved, Outcome, eventually};
use tokio::sync::{mpsc, oneshot};

use crate::crowd::Writer;
use crate::stage::{self, Stage, ours};
use crate::subject;

/// Liveness only; a deploy on a small table takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(30);

/// After so long without anything that can be seen, a statement counts as one that looks again and again, on the server,
/// whether it may go on. Too early costs nothing: the next writer has to get through all the same.
const QUIET: Duration = Duration::from_secs(2);

/// `migrate`, running as a process of its own would: on a thread and a runtime that nothing else needs. Each of its
/// statements waits at a gate until it is let on.
pub struct Deploy {
    outcome: oneshot::Receiver<Result<(), String>>,
    /// Dropping it kills the deploy.
    alive: oneshot::Sender<()>,
    gate: Gate,
    arrivals: mpsc::UnboundedReceiver<String>,
    /// When it last did something that could be seen.
    seen: Instant,
}

/// How far a deploy has come.
#[derive(Clone, Debug)]
pub enum Step {
    /// What it did before is done, and this statement waits at the gate.
    Before {
        statement: String,
    },
    /// It waits for an open transaction, and holds no place in a line: a statement of its kind lets writers pass.
    Aside {
        statement: String,
    },
    /// It waits for a lock on a table, and whoever writes next has to wait behind it.
    InLine {
        statement: String,
    },
    /// It neither waits for a lock nor gets anywhere while a transaction is open.
    Looking,
    Ended(Result<(), String>),
}

impl Deploy {
    pub fn start(stage: &Stage) -> Result<Deploy, Failure> {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let gate = stage.tap().rule(Rule::on_request(move |request| {
            if !matches!(request.kind, Kind::Execute | Kind::Query) {
                return Verdict::Pass;
            }
            arrived.send(request.sql.unwrap_or_default().to_owned()).ok();
            Verdict::Hold
        }));
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
            alive,
            gate,
            arrivals,
            seen: Instant::now(),
        })
    }

    /// Waits until the next statement is about to run, the one that was let on waits for `writer`, or it is over.
    pub async fn next_step(&mut self, stage: &mut Stage, writer: Option<&Writer>) -> Result<Step, Failure> {
        while self.seen.elapsed() < DEADLINE {
            tokio::select! {
                biased;
                outcome = &mut self.outcome => return Ok(Step::Ended(outcome.or_observed("migrate panicked")?)),
                Some(statement) = self.arrivals.recv() => return Ok(Step::Before { statement: one_line(&statement) }),
                // The server sends no event when somebody begins to wait for a lock.
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
            let Some(writer) = writer else { continue };
            if let Some(waiting) = waiting_for(stage, writer).await? {
                self.seen = Instant::now();
                return Ok(waiting);
            }
            if self.seen.elapsed() > QUIET {
                self.seen = Instant::now();
                return Ok(Step::Looking);
            }
        }
        Err(Failure::new(format!(
            "a deploy that nothing was in the way of did not go on for {DEADLINE:?}"
        )))
    }

    /// Lets the statement on that arrived last.
    pub async fn let_on(&mut self) -> Outcome {
        // It tells of itself on its way to the gate.
        self.gate.until_waiting(1, DEADLINE).await?;
        self.gate.release_one();
        self.seen = Instant::now();
        Ok(())
    }

    /// Waits for the end, with nothing in the way.
    pub async fn end(self) -> Result<Result<(), String>, Failure> {
        self.gate.open();
        let what = "the end of a deploy that nothing is in the way of";
        let ended = harness::within(DEADLINE, what, self.outcome).await?;
        drop(self.alive);
        ended.or_observed("migrate panicked")
    }

    /// Ends the deploy as a killed process ends: nothing of it runs on, its sessions are gone, and what had not reached
    /// the server is lost.
    pub async fn kill(self, stage: &mut Stage) -> Result<(), Failure> {
        let Deploy {
            outcome, alive, gate, ..
        } = self;
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
        .await?;
        drop(gate);
        Ok(())
    }

    /// Whether a session of the deploy has a table to itself, as far as writers are concerned.
    pub async fn holds_a_table(&self, stage: &mut Stage) -> Result<bool, Failure> {
        let question = format!(
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
             JOIN pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p') \
             WHERE a.datname = current_database() AND a.usename = '{}' AND l.granted AND l.database <> 0 \
             AND c.relnamespace = 'public'::regnamespace \
             AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')",
            stage.pg.role()
        );
        Ok(stage.ask_one::<u32>(&question).await? > 0)
    }
}

/// Which statement of the deploy waits for that writer, and how.
async fn waiting_for(stage: &mut Stage, writer: &Writer) -> Result<Option<Step>, Failure> {
    let question = format!(
        "SELECT l.locktype, a.query FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted \
         WHERE a.datname = current_database() AND a.usename = '{}' AND {} = ANY(pg_blocking_pids(a.pid))",
        stage.pg.role(),
        writer.pid(),
    );
    let rows = stage.ask(&question).await?;
    let Some((lock, query)) = rows.first().and_then(|row| Some((row.text(0)?, row.text(1)?))) else {
        return Ok(None);
    };
    let statement = one_line(query);
    Ok(Some(match lock {
        "virtualxid" | "transactionid" => Step::Aside { statement },
        _ => Step::InLine { statement },
    }))
}

/// On the deploy's own thread, so that its future need not be one that can move between threads.
fn run(url: &str, killed: oneshot::Receiver<()>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        tokio::select! {
            outcome = migrate(url) => outcome,
            _ = killed => Err("killed".to_owned()),
        }
    })
}

async fn migrate(url: &str) -> Result<(), String> {
    let pool = stage::connect(url, 5).await.map_err(|error| error.to_string())?;
    let outcome = subject::migrate(&pool).await.map_err(|error| error.to_string());
    pool.close().await;
    outcome
}

/// A statement as one line of evidence.
pub fn one_line(statement: &str) -> String {
    let lines = statement
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("--"));
    lines.collect::<Vec<_>>().join(" ").trim().to_owned()
}
