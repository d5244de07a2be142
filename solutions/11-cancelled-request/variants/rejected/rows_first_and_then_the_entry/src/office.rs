//! Runs errands to the database. Each is a task of its own with a session of its own, and waits with whoever ordered it:
//! when nobody holds the other end of its reply any more, it has the server stop, and brings the session home in order.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::AppCfg;
use crate::engine::crunch::{Line, Row};
use crate::error::AppError;
use crate::reports::Order;
use crate::sessions::{Session, Sessions};

const STOPS: [&str; 2] = ["SELECT pg_cancel_backend($1)", "SELECT pg_terminate_backend($1)"];
const STOP_EVERY: Duration = Duration::from_millis(800);
const SPARE_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct Office {
    /// What reports and pages share.
    pub sessions: Sessions,
    /// Two for what must not wait for those.
    spare: Sessions,
    /// Only one of these makes entries.
    clerk: Arc<Semaphore>,
    /// Reports, errands and calculations.
    pub busy: TaskTracker,
    stop: CancellationToken,
}

enum Errand {
    Start { report: String },
    Lines { report: String, lines: i64, secs: f64 },
    Finish { report: String, rows: Vec<Row> },
    Count,
}

enum Answer {
    Done,
    Lines(Vec<Line>),
    Count(i64),
}

impl Office {
    /// # Panics
    /// When `db_url` is no address of a database.
    pub fn new(db_url: &str, cfg: &AppCfg, stop: CancellationToken) -> Office {
        let options: sqlx::postgres::PgConnectOptions = db_url.parse().expect("the address of the database");
        Office {
            sessions: Sessions::new(options.clone(), cfg.pool, cfg.acquire_timeout),
            spare: Sessions::new(options, 2, SPARE_PATIENCE),
            clerk: Arc::new(Semaphore::new(1)),
            busy: TaskTracker::new(),
            stop,
        }
    }

    pub async fn start(&self, report: &str) -> Result<(), AppError> {
        let report = report.to_owned();
        self.send(Errand::Start { report }).await.map(|_| ())
    }

    pub async fn lines(&self, order: &Order) -> Result<Vec<Line>, AppError> {
        let errand = Errand::Lines {
            report: order.id.clone(),
            lines: order.lines,
            secs: order.secs,
        };
        match self.send(errand).await? {
            Answer::Lines(lines) => Ok(lines),
            _ => Err(AppError::Failed("no lines".to_owned())),
        }
    }

    pub async fn finish(&self, report: &str, rows: Vec<Row>) -> Result<(), AppError> {
        let report = report.to_owned();
        self.send(Errand::Finish { report, rows }).await.map(|_| ())
    }

    pub async fn reports_done(&self) -> Result<i64, AppError> {
        match self.send(Errand::Count).await? {
            Answer::Count(count) => Ok(count),
            _ => Err(AppError::Failed("no count".to_owned())),
        }
    }

    /// Enters the end of a report, whether somebody waits for that or not.
    pub fn end_later(&self, report: String, event: &'static str) -> JoinHandle<()> {
        let office = self.clone();
        self.busy.spawn(async move { office.end(&report, event).await })
    }

    pub async fn close(&self) {
        tokio::join!(self.sessions.close(), self.spare.close());
    }

    async fn send(&self, errand: Errand) -> Result<Answer, AppError> {
        let seat = self.sessions.seat().await?;
        let (reply, answer) = oneshot::channel();
        self.busy.spawn(self.clone().run(errand, seat, reply));
        let answer = answer.await;
        answer.unwrap_or_else(|_| Err(AppError::Failed("the errand broke down".to_owned())))
    }

    async fn run(
        self,
        errand: Errand,
        seat: OwnedSemaphorePermit,
        mut reply: oneshot::Sender<Result<Answer, AppError>>,
    ) {
        let session = tokio::select! {
            biased;
            () = reply.closed() => return,
            session = self.sessions.open() => session,
        };
        let mut session = match session {
            Ok(session) => session,
            Err(err) => {
                drop(seat);
                let _ = reply.send(Err(err));
                return;
            }
        };
        if reply.is_closed() {
            self.sessions.give_back(session);
            return;
        }
        let (answer, stopped) = self.work(&errand, &mut session, &mut reply).await;
        let usable = match (&answer, stopped) {
            (Some(Ok(_)), Stopped::No | Stopped::Surely) => true,
            (Some(Err(_)), Stopped::No | Stopped::Surely) => in_order(&mut session).await,
            _ => false,
        };
        if usable {
            self.sessions.give_back(session);
        } else {
            drop(session);
        }
        drop(seat);
        let answer = answer.unwrap_or(Err(sqlx::Error::WorkerCrashed));
        if reply.send(answer.map_err(AppError::from)).is_err()
            && let Errand::Start { report } = &errand
        {
            // Whoever gave it up may have been quicker than the entry.
            self.end(report, "cancelled").await;
        }
    }

    /// Until it is done; or, when nobody waits any more, until the server has stopped and no message to stop is on its
    /// way to the session.
    async fn work(
        &self,
        errand: &Errand,
        session: &mut Session,
        reply: &mut oneshot::Sender<Result<Answer, AppError>>,
    ) -> (Option<sqlx::Result<Answer>>, Stopped) {
        let pid = session.pid;
        let mut work = pin!(errand.run(&mut session.conn));
        tokio::select! {
            biased;
            answer = &mut work => return (Some(answer), Stopped::No),
            () = reply.closed() => {}
        }
        let mut stopped = Stopped::Surely;
        for sql in STOPS {
            let stop = timeout(SPARE_PATIENCE, self.tell(sql, pid));
            let (told, answer) = tokio::join!(stop, timeout(STOP_EVERY, &mut work));
            if !matches!(told, Ok(Ok(()))) {
                stopped = Stopped::Perhaps;
            }
            if let Ok(answer) = answer {
                return (Some(answer), stopped);
            }
        }
        (None, Stopped::Perhaps)
    }

    async fn tell(&self, sql: &'static str, pid: i32) -> Result<(), AppError> {
        let _seat = self.spare.seat().await?;
        let mut session = self.spare.open().await?;
        sqlx::query(sql).bind(pid).execute(&mut session.conn).await?;
        self.spare.give_back(session);
        Ok(())
    }

    async fn end(&self, report: &str, event: &str) {
        let mut last = 3;
        while last > 0 && self.enter_end(report, event).await.is_err() {
            if self.stop.is_cancelled() {
                last -= 1;
            }
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// For a report that was entered as started and has no end yet.
    async fn enter_end(&self, report: &str, event: &str) -> Result<(), AppError> {
        let _one = self.clerk.acquire().await;
        let _seat = self.spare.seat().await?;
        let mut session = self.spare.open().await?;
        let entry = sqlx::query(
            "INSERT INTO audit (report, event)
             SELECT $1, $2 WHERE EXISTS (SELECT FROM audit WHERE report = $1 AND event = 'started')
                 ON CONFLICT (report) WHERE event <> 'started' DO NOTHING",
        );
        entry.bind(report).bind(event).execute(&mut session.conn).await?;
        self.spare.give_back(session);
        Ok(())
    }
}

enum Stopped {
    No,
    Surely,
    Perhaps,
}

async fn in_order(session: &mut Session) -> bool {
    timeout(Duration::from_secs(1), async {
        loop {
            match session.conn.ping().await {
                Ok(()) => return true,
                Err(sqlx::Error::Database(_)) => {}
                Err(_) => return false,
            }
        }
    })
    .await
    .unwrap_or(false)
}

impl Errand {
    async fn run(&self, db: &mut PgConnection) -> sqlx::Result<Answer> {
        match self {
            Errand::Start { report } => {
                sqlx::query("INSERT INTO audit (report, event) VALUES ($1, 'started')")
                    .bind(report)
                    .execute(db)
                    .await?;
                Ok(Answer::Done)
            }
            Errand::Lines { report, lines, secs } => {
                // Operators see by the comment whose statement is running. The id has been validated.
                let sql = format!("SELECT line, units FROM slow_rows($1, $2) /*report:{report}*/");
                let rows = sqlx::query(AssertSqlSafe(sql))
                    .persistent(false)
                    .bind(lines)
                    .bind(secs)
                    .fetch_all(db)
                    .await?;
                let line = |row: &sqlx::postgres::PgRow| {
                    Ok(Line {
                        line: row.try_get("line")?,
                        units: row.try_get("units")?,
                    })
                };
                rows.iter().map(line).collect::<sqlx::Result<_>>().map(Answer::Lines)
            }
            Errand::Finish { report, rows } => {
                let (lines, cents): (Vec<i64>, Vec<i64>) = rows.iter().map(|row| (row.line, row.cents)).unzip();
                // One statement: all of them or none.
                sqlx::query(
                    "INSERT INTO results (report, line, cents)
                     SELECT $1, * FROM UNNEST($2::bigint[], $3::bigint[])",
                )
                .bind(report)
                .bind(lines)
                .bind(cents)
                .execute(&mut *db)
                .await?;
                sqlx::query("INSERT INTO audit (report, event) VALUES ($1, 'done')")
                    .bind(report)
                    .execute(db)
                    .await?;
                Ok(Answer::Done)
            }
            Errand::Count => {
                let count = sqlx::query_scalar("SELECT count(*) FROM audit WHERE event = 'done'");
                Ok(Answer::Count(count.fetch_one(db).await?))
            }
        }
    }
}
