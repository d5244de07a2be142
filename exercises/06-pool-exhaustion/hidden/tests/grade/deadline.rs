//! Requests that would take too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::postgres::{Kind, Lookout, Postgres, Rule, Verdict};
use harness::{Check, Failure, Outcome, ensure, eventually, within};
use pgwire::Client;
use pool_exhaustion_hidden::calls::Gets;
use pool_exhaustion_hidden::stage::{SOON, Stage};
use pool_exhaustion_hidden::subject::OrderError;
use pool_exhaustion_hidden::traffic::fresh;

pub const NO_ANSWER: &str =
    "A request has `query_deadline` in the database, and is answered then, whatever the database does.";
const ITS_OWN: &str =
    "`query_deadline` says how long a request has in the database, and not a patience of the pool's own.";
pub const STILL_RUNNING: &str = "The caller has left, and its statement is still running: a time-out around the call ends the \
                                 waiting, and not the work.";

pub fn unavailable(err: &OrderError) -> bool {
    matches!(err, OrderError::Unavailable { .. })
}

/// Somebody changes the table, and every statement on it waits in the server.
pub struct Blocked {
    locking: Client,
    lookout: Lookout,
}

impl Blocked {
    pub async fn begin(pg: &Arc<Postgres>) -> Result<Blocked, Failure> {
        let mut admin = pg.admin().await?;
        admin
            .execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
            .await
            .map_err(|error| Failure::environment(format!("failed to lock the table: {error}")))?;
        Ok(Blocked {
            locking: admin,
            lookout: Lookout::on(pg),
        })
    }

    /// Waits until no statement of the role is running any more, with the table still locked.
    pub async fn until_nothing_runs(&self, role: &str, deadline: Duration) -> Outcome {
        let active = format!(
            "SELECT count(*), coalesce(max(query), '') FROM pg_stat_activity WHERE usename = '{role}' AND state = 'active'"
        );
        let mut last = (0, String::new());
        let ended = eventually(deadline, "", async || match self.row(&active).await {
            Ok(row) => {
                last = row;
                (last.0 == 0).then_some(Ok(()))
            }
            Err(failure) => Some(Err(failure)),
        });
        match ended.await {
            Ok(ended) => ended,
            Err(_) => Err(Failure::new(format!(
                "{} statements are still running {deadline:?} after their callers were told that they had failed",
                last.0
            ))
            .because(STILL_RUNNING)
            .evidence(format!("one of them: {}", last.1))),
        }
    }

    /// How many sessions the role has.
    pub async fn sessions(&self, role: &str) -> Result<i64, Failure> {
        let sql = format!("SELECT count(*), '' FROM pg_stat_activity WHERE usename = '{role}'");
        Ok(self.row(&sql).await?.0)
    }

    pub async fn end(mut self) -> Outcome {
        self.locking
            .execute("ROLLBACK")
            .await
            .map_err(|error| Failure::environment(format!("failed to unlock the table: {error}")))?;
        self.locking.close().await.ok();
        Ok(())
    }

    async fn row(&self, sql: &str) -> Result<(i64, String), Failure> {
        let rows = self.lookout.ask(sql).await?;
        let row = rows.first();
        let number = row.and_then(|row| row.text(0)?.parse().ok()).unwrap_or(0);
        let text = row.and_then(|row| row.text(1)).unwrap_or_default().to_owned();
        Ok((number, text))
    }
}

pub async fn blocked(cx: &Check) -> Outcome {
    let max_db = cx.draw("max_db", &[2, 3]);
    let deadline = cx.draw(
        "query_deadline",
        &[Duration::from_millis(1_000), Duration::from_millis(1_500)],
    );
    let stage = Stage::set(cx, max_db, 8, |cfg| cfg.query_deadline = deadline).await?;
    stage.warm().await?;
    let role = stage.pg.role().to_owned();
    let blocked = Blocked::begin(&stage.pg).await?;
    for round in 1..=2 {
        cx.stage(format!("the table is locked, round {round}"));
        let gets = Gets::send(&stage.orders, max_db);
        // By the deadline or within a second of it; the quickest of them tells, whatever else the machine has to do.
        gets.until_answered(1, deadline + Duration::from_millis(1_500), ITS_OWN)
            .await?;
        gets.until_answered(max_db, SOON, NO_ANSWER).await?;
        let served = gets.right_or(unavailable, "with the table locked", NO_ANSWER)?;
        ensure!(
            served == 0,
            "The table was locked.",
            "{served} requests read a table that was locked"
        );
        blocked.until_nothing_runs(&role, SOON).await?;
        // One that has just ended its last statement may still be on its way out.
        let few = async || {
            blocked
                .sessions(&role)
                .await
                .ok()
                .filter(|sessions| *sessions <= max_db as i64 + 1)
        };
        if within(SOON, "", poll(few)).await.is_err() {
            let sessions = blocked.sessions(&role).await?;
            return Err(Failure::new(format!(
                "in round {round} the server has {sessions} sessions of the replica, and max_db is {max_db}"
            ))
            .because(
                "Each request that runs out of time leaves a session behind and has another one opened: the limit holds \
                 for the replica, and not for the server.",
            ));
        }
    }
    blocked.end().await?;
    capacity_is_back(&stage, "with the table free again").await
}

async fn poll<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn silent(cx: &Check) -> Outcome {
    let max_db = cx.draw("max_db", &[2, 3]);
    let deadline = cx.draw(
        "query_deadline",
        &[Duration::from_millis(1_000), Duration::from_millis(1_500)],
    );
    let stage = Stage::set(cx, max_db, 8, |cfg| cfg.query_deadline = deadline).await?;
    stage.warm().await?;
    cx.stage("connections fall silent");
    let silencing = stage
        .tap
        .rule(Rule::on_request(|request| match request.runs_data() {
            true => Verdict::Silence,
            false => Verdict::Pass,
        }));
    let gets = Gets::send(&stage.orders, max_db);
    gets.until_answered(max_db, SOON, NO_ANSWER).await?;
    gets.right_or(unavailable, "on connections that fell silent", NO_ANSWER)?;
    // They stay silent; new ones are not.
    drop(silencing);
    capacity_is_back(&stage, "with new connections to be had").await?;

    cx.stage("nothing passes any more");
    let gate = stage.tap.hold_requests(|request| request.runs_data());
    let gets = Gets::send(&stage.orders, max_db);
    // On a busy machine, one may have run out of its time before the last has come.
    gate.until_waiting(max_db, deadline).await.ok();
    let silent = stage.tap.black_hole();
    gets.until_answered(max_db, SOON, NO_ANSWER).await?;
    gets.right_or(unavailable, "with nothing passing any more", NO_ANSWER)?;
    // Whoever comes now has nothing to find but connections that do not answer.
    let more = Gets::send(&stage.orders, max_db);
    more.until_answered(max_db, SOON, NO_ANSWER).await?;
    more.right_or(unavailable, "with nothing passing any more", NO_ANSWER)?;
    cx.stage("everything passes again");
    drop(silent);
    drop(gate);
    capacity_is_back(&stage, "with everything passing again").await?;
    slow(cx, &stage).await
}

/// A statement that comes so late of an order whose statements take 0.9 of the deadline each comes after 2.7 deadlines, where
/// one deadline and a second are allowed.
const TOO_LATE: usize = 4;

/// Each statement of an order takes almost as long as all of them together may.
async fn slow(cx: &Check, stage: &Stage) -> Outcome {
    cx.stage("the database is slow with every statement");
    let each = stage.cfg.query_deadline * 9 / 10;
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = asked.clone();
    let slowing = stage.tap.delay(
        move |request| {
            let works = matches!(request.kind, Kind::Execute | Kind::Query) && !request.runs("rollback");
            counting.fetch_add(usize::from(works), Ordering::SeqCst);
            works
        },
        each,
    );
    let placing = stage.orders.place(fresh("slowly", 1));
    let answer = within(SOON, "an answer to an order", placing).await?;
    drop(slowing);
    let asked = asked.load(Ordering::SeqCst);
    ensure!(
        asked < TOO_LATE,
        "A request has `query_deadline` for all that it does, not for each of its statements: where each is slow, it has as \
         many deadlines as statements.",
        "each statement took {each:?}, with a query_deadline of {:?}, and an order came to {asked} of them",
        stage.cfg.query_deadline
    );
    ensure!(
        answer.as_ref().map_or_else(unavailable, |_| true),
        NO_ANSWER,
        "with every statement slow, an order got {answer:?}"
    );
    capacity_is_back(stage, "with the database quick again").await
}

/// As many requests as are allowed are in the database at one time, and get their answers.
async fn capacity_is_back(stage: &Stage, when: &str) -> Outcome {
    // What was waiting when the fault ended may still run out of its time.
    let again = async || {
        let gets = Gets::send(&stage.orders, stage.cfg.max_db);
        gets.until_answered(gets.sent(), SOON, "").await.ok()?;
        gets.right_or(|_| false, when, "").ok()
    };
    eventually(SOON * 2, &format!("an answer to `max_db` requests at once {when}"), again)
        .await
        .map_err(|failure| {
            failure.because(
                "A connection on which a request ran out of time is of no use any more, and its place is: it is closed, \
                 and not waited for.",
            )
        })?;
    stage.nothing_left_open().await
}
