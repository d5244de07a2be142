//! The tables behind the service, and the warehouse.

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row as _};

use crate::engine::crunch::{Line, Row};
use crate::reports::Order;

/// Writes an event of a report into the audit's table.
pub async fn record(db: impl sqlx::PgExecutor<'_>, report: &str, event: &str) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO audit (report, event) VALUES ($1, $2)")
        .bind(report)
        .bind(event)
        .execute(db)
        .await?;
    Ok(())
}

/// A connection with an open cursor, which is of no use to anybody else. Taken when the cursor has been closed.
struct Cursor(Option<PoolConnection<Postgres>>);

impl Drop for Cursor {
    fn drop(&mut self) {
        if let Some(conn) = &mut self.0 {
            conn.close_on_drop();
        }
    }
}

pub async fn slow_rows(db: &PgPool, order: &Order) -> sqlx::Result<Vec<Line>> {
    // Operators see by the comment whose statement is running. The id has been validated.
    let sql = format!(
        "DECLARE lines NO SCROLL CURSOR FOR SELECT line, units FROM slow_rows({}, {}) /*report:{}*/",
        order.lines, order.secs, order.id
    );
    let mut cursor = Cursor(Some(db.acquire().await?));
    let conn = cursor.0.as_mut().ok_or(sqlx::Error::PoolClosed)?;
    sqlx::query("BEGIN").execute(&mut **conn).await?;
    sqlx::query(AssertSqlSafe(sql))
        .persistent(false)
        .execute(&mut **conn)
        .await?;
    // As many as come in a tenth of a second: whoever gives the report up leaves no more than that behind.
    let piece = (order.lines as f64 * 0.1 / order.secs.max(0.001)).clamp(1.0, 10_000.0) as i64;
    let fetch = format!("FETCH {piece} FROM lines");
    let mut rows = Vec::new();
    loop {
        let fetched = sqlx::query(AssertSqlSafe(fetch.clone())).persistent(false);
        let fetched = fetched.fetch_all(&mut **conn).await?;
        let last = (fetched.len() as i64) < piece;
        rows.extend(fetched);
        if last {
            break;
        }
    }
    sqlx::query("ROLLBACK").execute(&mut **conn).await?;
    cursor.0 = None;
    rows.iter()
        .map(|row| {
            Ok(Line {
                line: row.try_get("line")?,
                units: row.try_get("units")?,
            })
        })
        .collect()
}

/// Stores the rows of a report and its end, all of it or nothing.
pub async fn finish(db: &PgPool, report: &str, rows: &[Row]) -> sqlx::Result<()> {
    let (lines, cents): (Vec<i64>, Vec<i64>) = rows.iter().map(|row| (row.line, row.cents)).unzip();
    let mut tx = db.begin().await?;
    sqlx::query(
        "INSERT INTO results (report, line, cents) SELECT $1, * FROM UNNEST($2::bigint[], $3::bigint[])",
    )
    .bind(report)
    .bind(lines)
    .bind(cents)
    .execute(&mut *tx)
    .await?;
    record(&mut *tx, report, "done").await?;
    tx.commit().await
}

pub async fn reports_done(db: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM audit WHERE event = 'done'")
        .fetch_one(db)
        .await
}
