//! The tables behind the service, and the warehouse.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::app::AppCfg;
use crate::engine::crunch::{Line, Row};
use crate::error::AppError;
use crate::reports::Order;

const CANCEL: &str = "SELECT pg_cancel_backend($1)";
const TERMINATE: &str = "SELECT pg_terminate_backend($1)";
/// A cancellation that finds its session between two messages is lost, so there is a second, and then the axe.
const STRIKES: [&str; 3] = [CANCEL, CANCEL, TERMINATE];
const STRIKE_EVERY: Duration = Duration::from_millis(650);
const STRIKE_PATIENCE: Duration = Duration::from_millis(1500);
const END_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub struct Store {
    /// What reports and pages share.
    pub db: PgPool,
    /// Two more sessions at most, so that what ends others' work never waits for it.
    control: PgPool,
    /// Entries into the audit never take the last session of `control`.
    entries: Arc<Semaphore>,
}

/// A session that is held, and what the server calls it.
struct Session {
    conn: PoolConnection<Postgres>,
    pid: i32,
}

impl Store {
    pub fn new(db_url: &str, cfg: &AppCfg) -> Store {
        let options: PgConnectOptions = db_url.parse().expect("the address of the database");
        let db = PgPoolOptions::new()
            .max_connections(cfg.pool)
            .acquire_timeout(cfg.acquire_timeout)
            .connect_lazy_with(options.clone());
        let control = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(END_PATIENCE)
            .connect_lazy_with(options);
        Store {
            db,
            control,
            entries: Arc::new(Semaphore::new(1)),
        }
    }

    pub async fn close(&self) {
        tokio::join!(self.db.close(), self.control.close());
    }

    /// Enters a report as started.
    pub async fn start(&self, report: &str, quit: &CancellationToken) -> Result<(), AppError> {
        let Session { mut conn, pid } = self.session(quit).await?;
        let work = sqlx::query("INSERT INTO audit (report, event) VALUES ($1, 'started')")
            .bind(report)
            .execute(&mut *conn);
        let ended = self.abortable(pid, quit, work).await;
        ended.settle(conn, quit).await.map(|_| ())
    }

    /// Reads the lines from the warehouse.
    pub async fn lines(&self, order: &Order, quit: &CancellationToken) -> Result<Vec<Line>, AppError> {
        let Session { mut conn, pid } = self.session(quit).await?;
        // Operators see by the comment whose statement is running. The id has been validated.
        let sql = format!(
            "SELECT line, units FROM slow_rows($1, $2) /*report:{}*/",
            order.id
        );
        let work = sqlx::query(AssertSqlSafe(sql))
            .persistent(false)
            .bind(order.lines)
            .bind(order.secs)
            .fetch_all(&mut *conn);
        let ended = self.abortable(pid, quit, work).await;
        let rows = ended.settle(conn, quit).await?;
        let lines: sqlx::Result<Vec<Line>> = rows
            .iter()
            .map(|row| {
                Ok(Line {
                    line: row.try_get("line")?,
                    units: row.try_get("units")?,
                })
            })
            .collect();
        Ok(lines?)
    }

    /// Stores the rows and enters the report as done: one statement, so both or neither.
    pub async fn finish(&self, report: &str, rows: &[Row], quit: &CancellationToken) -> Result<(), AppError> {
        let (lines, cents): (Vec<i64>, Vec<i64>) = rows.iter().map(|row| (row.line, row.cents)).unzip();
        let Session { mut conn, pid } = self.session(quit).await?;
        let work = sqlx::query(
            "WITH stored AS (
                 INSERT INTO results (report, line, cents) SELECT $1, * FROM UNNEST($2::bigint[], $3::bigint[])
             )
             INSERT INTO audit (report, event) VALUES ($1, 'done')",
        )
        .bind(report)
        .bind(lines)
        .bind(cents)
        .execute(&mut *conn);
        let ended = self.abortable(pid, quit, work).await;
        ended.settle(conn, quit).await.map(|_| ())
    }

    /// Enters the end of a report that has no end yet, if it was ever entered as started.
    pub async fn end(&self, report: &str, event: &str) -> Result<(), AppError> {
        let entry = async {
            let _one = self.entries.acquire().await;
            sqlx::query(
                "INSERT INTO audit (report, event) SELECT $1, $2
                  WHERE EXISTS (SELECT FROM audit WHERE report = $1 AND event = 'started')
                     ON CONFLICT (report) WHERE event <> 'started' DO NOTHING",
            )
            .bind(report)
            .bind(event)
            .execute(&self.control)
            .await
        };
        match timeout(END_PATIENCE, entry).await {
            Ok(entered) => Ok(entered.map(|_| ())?),
            Err(_) => Err(AppError::Busy),
        }
    }

    pub async fn reports_done(&self) -> sqlx::Result<i64> {
        sqlx::query_scalar("SELECT count(*) FROM audit WHERE event = 'done'")
            .fetch_one(&self.db)
            .await
    }

    async fn session(&self, quit: &CancellationToken) -> Result<Session, AppError> {
        let session = async {
            let mut conn = self.db.acquire().await?;
            let pid = sqlx::query_scalar("SELECT pg_backend_pid()")
                .fetch_one(&mut *conn)
                .await?;
            Ok(Session { conn, pid })
        };
        tokio::select! {
            biased;
            () = quit.cancelled() => Err(AppError::Gone),
            session = session => session.map_err(|err: sqlx::Error| err.into()),
        }
    }

    /// Does `work` on the session `pid`. When it is given up, has the server end it, and waits for that. The session
    /// must not be used by others before this returns: a cancellation under way would hit them.
    async fn abortable<T>(
        &self,
        pid: i32,
        quit: &CancellationToken,
        work: impl Future<Output = sqlx::Result<T>>,
    ) -> Ended<T> {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return Ended { done: Some(done), clean: true },
            () = quit.cancelled() => {}
        }
        let mut clean = true;
        for sql in STRIKES {
            let strike = timeout(STRIKE_PATIENCE, sqlx::query(sql).bind(pid).execute(&self.control));
            let (struck, done) = tokio::join!(strike, timeout(STRIKE_EVERY, &mut work));
            clean &= matches!(struck, Ok(Ok(_)));
            if let Ok(done) = done {
                return Ended { done: Some(done), clean };
            }
        }
        Ended { done: None, clean: false }
    }
}

/// What became of work on a session.
struct Ended<T> {
    /// `None` if the server did not end it when it was told to.
    done: Option<sqlx::Result<T>>,
    /// Whether nothing is on its way to the session any more.
    clean: bool,
}

impl<T> Ended<T> {
    async fn settle(
        self,
        mut conn: PoolConnection<Postgres>,
        quit: &CancellationToken,
    ) -> Result<T, AppError> {
        if self.clean {
            // Before the next step asks for one: or the pool would open another.
            conn.return_to_pool().await;
        } else {
            // Not for anybody else.
            drop(conn.detach());
        }
        match self.done {
            Some(Ok(done)) => Ok(done),
            _ if quit.is_cancelled() => Err(AppError::Gone),
            Some(Err(err)) => Err(err.into()),
            None => Err(AppError::Gone),
        }
    }
}
