//! The tables behind the service, and the warehouse.

use sqlx::{AssertSqlSafe, PgPool, Row as _};

use crate::engine::crunch::{Line, Row};
use crate::reports::Order;
use crate::statement::Statement;

/// Writes an event of a report into the audit's table.
pub async fn record(db: impl sqlx::PgExecutor<'_>, report: &str, event: &str) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO audit (report, event) VALUES ($1, $2)")
        .bind(report)
        .bind(event)
        .execute(db)
        .await?;
    Ok(())
}

pub async fn slow_rows(db: &PgPool, order: &Order) -> sqlx::Result<Vec<Line>> {
    // Operators see by the comment whose statement is running. The id has been validated.
    let sql = format!(
        "SELECT line, units FROM slow_rows($1, $2) /*report:{}*/",
        order.id
    );
    let query = sqlx::query(AssertSqlSafe(sql))
        .persistent(false)
        .bind(order.lines)
        .bind(order.secs);
    let rows = Statement::prepare(db).await?.fetch_all(query).await?;
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
