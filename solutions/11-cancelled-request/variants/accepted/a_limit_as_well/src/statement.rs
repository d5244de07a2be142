//! A statement that ends when nobody waits for it any more.

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// How long the server may take to end a statement before its connection is given up.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// A cancellation that overtakes its statement hits nothing, and is sent again.
const CANCEL_AGAIN: Duration = Duration::from_millis(500);

/// A connection for one statement.
pub struct Statement {
    /// Taken when the statement has been answered. Whoever drops this earlier leaves a statement behind, and then the
    /// connection must not return to the pool before the server is done with it: a cancellation names a server process,
    /// and would hit whatever that process does next.
    conn: Option<PoolConnection<Postgres>>,
    pid: i32,
    /// For the cancellation, which cannot wait for a place in the pool.
    options: Arc<PgConnectOptions>,
    /// Shutdown waits for these.
    jobs: TaskTracker,
    runtime: Handle,
}

impl Statement {
    pub async fn prepare(db: &PgPool, jobs: &TaskTracker) -> sqlx::Result<Statement> {
        let mut conn = db.acquire().await?;
        let pid = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&mut *conn)
            .await?;
        Ok(Statement {
            conn: Some(conn),
            pid,
            options: db.connect_options(),
            jobs: jobs.clone(),
            runtime: Handle::current(),
        })
    }

    pub async fn fetch_all(
        mut self,
        left: Duration,
        query: Query<'_, Postgres, PgArguments>,
    ) -> sqlx::Result<Vec<PgRow>> {
        let Some(conn) = &mut self.conn else {
            return Ok(Vec::new());
        };
        let rows = limited(conn, left, query).await;
        self.conn = None;
        rows
    }
}

/// If all else fails, the server ends the statement at the deadline.
async fn limited(
    conn: &mut PgConnection,
    left: Duration,
    query: Query<'_, Postgres, PgArguments>,
) -> sqlx::Result<Vec<PgRow>> {
    let mut tx = conn.begin().await?;
    let limit = format!("SET LOCAL statement_timeout = {}", left.as_millis().max(1));
    sqlx::query(sqlx::AssertSqlSafe(limit))
        .persistent(false)
        .execute(&mut *tx)
        .await?;
    let rows = query.fetch_all(&mut *tx).await?;
    tx.commit().await?;
    Ok(rows)
}

impl Drop for Statement {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            let ending = end(conn, self.pid, self.options.clone());
            self.jobs.spawn_on(ending, &self.runtime);
        }
    }
}

async fn end(mut conn: PoolConnection<Postgres>, pid: i32, options: Arc<PgConnectOptions>) {
    let ended = timeout(END_TIMEOUT, cancel(&mut conn, pid, &options)).await;
    if !matches!(ended, Ok(Ok(()))) {
        conn.close_on_drop();
    }
}

async fn cancel(conn: &mut PgConnection, pid: i32, options: &PgConnectOptions) -> sqlx::Result<()> {
    let mut other = PgConnection::connect_with(options).await?;
    loop {
        sqlx::query("SELECT pg_cancel_backend($1)")
            .bind(pid)
            .execute(&mut other)
            .await?;
        if let Ok(idle) = timeout(CANCEL_AGAIN, idle(conn)).await {
            idle?;
            // What was begun for the limit.
            sqlx::query("ROLLBACK").execute(&mut *conn).await?;
            return other.close().await;
        }
    }
}

/// The first answer may be the statement's: that it was cancelled. The second can only be the ping's.
async fn idle(conn: &mut PgConnection) -> sqlx::Result<()> {
    match conn.ping().await {
        Err(sqlx::Error::Database(_)) => conn.ping().await,
        answer => answer,
    }
}
