//! A statement that ends when nobody waits for it any more.

use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

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

    pub async fn fetch_all(mut self, query: Query<'_, Postgres, PgArguments>) -> sqlx::Result<Vec<PgRow>> {
        let Some(conn) = &mut self.conn else {
            return Ok(Vec::new());
        };
        let rows = query.fetch_all(&mut **conn).await;
        self.conn = None;
        rows
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            // Back to the pool first: nobody is to wait for a connection because somebody else has left.
            drop(conn);
            let ending = cancel(self.pid, self.options.clone());
            self.jobs.spawn_on(ending, &self.runtime);
        }
    }
}

async fn cancel(pid: i32, options: Arc<PgConnectOptions>) -> sqlx::Result<()> {
    let mut other = PgConnection::connect_with(&options).await?;
    sqlx::query("SELECT pg_cancel_backend($1)")
        .bind(pid)
        .execute(&mut other)
        .await?;
    other.close().await
}
