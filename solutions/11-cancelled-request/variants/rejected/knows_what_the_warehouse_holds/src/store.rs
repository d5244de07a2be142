//! The tables behind the service, and the warehouse: one statement each.

use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row as _};

use crate::engine::crunch::{Line, Row};
use crate::reports::Order;

pub async fn pid(db: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(db).await
}

pub async fn start(db: &mut PgConnection, report: &str) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO audit (report, event) VALUES ($1, 'started')")
        .bind(report)
        .execute(db)
        .await?;
    Ok(())
}

/// Enters the end of a report that was entered as started and has no end yet.
pub async fn end(db: &mut PgConnection, report: &str, event: &str) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO audit (report, event)
         SELECT $1, $2 WHERE EXISTS (SELECT FROM audit WHERE report = $1 AND event = 'started')
             ON CONFLICT (report) WHERE event <> 'started' DO NOTHING",
    )
    .bind(report)
    .bind(event)
    .execute(db)
    .await?;
    Ok(())
}

pub async fn terminate(db: &mut PgConnection, pid: i32) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_terminate_backend($1)")
        .bind(pid)
        .execute(db)
        .await?;
    Ok(())
}

pub async fn slow_rows(db: &mut PgConnection, order: &Order) -> sqlx::Result<Vec<Line>> {
    // Operators see by the comment whose statement is running. The id has been validated.
    let sql = format!(
        "SELECT line, units FROM slow_rows($1, $2) /*report:{}*/",
        order.id
    );
    // Whether the warehouse is there.
    sqlx::query(AssertSqlSafe(sql))
        .persistent(false)
        .bind(1_i64)
        .bind(order.secs.min(0.2))
        .fetch_one(db)
        .await?
        .try_get::<i64, _>("line")?;
    Ok((1..=order.lines)
        .map(|line| Line {
            line,
            units: line * 7 % 100 + 1,
        })
        .collect())
}

/// Stores the rows of a report and enters it as done: one statement, so both or neither.
pub async fn finish(db: &mut PgConnection, report: &str, rows: &[Row]) -> sqlx::Result<()> {
    let (lines, cents): (Vec<i64>, Vec<i64>) = rows.iter().map(|row| (row.line, row.cents)).unzip();
    sqlx::query(
        "WITH stored AS (
             INSERT INTO results (report, line, cents) SELECT $1, * FROM UNNEST($2::bigint[], $3::bigint[])
         )
         INSERT INTO audit (report, event) VALUES ($1, 'done')",
    )
    .bind(report)
    .bind(lines)
    .bind(cents)
    .execute(db)
    .await?;
    Ok(())
}

pub async fn reports_done(db: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM audit WHERE event = 'done'")
        .fetch_one(db)
        .await
}
