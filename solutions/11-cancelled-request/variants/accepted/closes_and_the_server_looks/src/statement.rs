//! A statement that ends when nobody waits for it any more.

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgPool, Postgres};

/// A connection for one statement.
pub struct Statement {
    /// Taken when the statement has been answered.
    conn: Option<PoolConnection<Postgres>>,
}

impl Statement {
    pub async fn prepare(db: &PgPool) -> sqlx::Result<Statement> {
        Ok(Statement {
            conn: Some(db.acquire().await?),
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
        if let Some(mut conn) = self.conn.take() {
            conn.close_on_drop();
        }
    }
}
