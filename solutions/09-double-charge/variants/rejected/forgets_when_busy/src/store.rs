//! The tables: `intents`, `attempts` and `outcomes` remember requests, `payments` is the ledger. Nothing in them is
//! changed after it was written, but for the end of a lease that is given back. The functions are in the migration.

use std::future::Future;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::types::Uuid;
use sqlx::types::time::OffsetDateTime;

use crate::request::PayReq;

const PATIENCE: Duration = Duration::from_secs(8);

/// Gives up on a database that does not answer.
pub async fn within<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

pub enum Begun {
    Yours { intent: Uuid, attempt: i32 },
    Busy,
    Reuse,
    Done(Outcome),
}

#[derive(sqlx::FromRow)]
pub struct Outcome {
    pub status: i16,
    pub body: Vec<u8>,
}

/// A payment that nobody is working on.
#[derive(sqlx::FromRow)]
pub struct Orphan {
    pub intent: Uuid,
    pub attempt: i32,
    /// As a JSON string.
    pub order_json: String,
    pub amount_cents: i64,
    pub currency: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    verdict: String,
    intent_id: Uuid,
    attempt: Option<i32>,
    done_status: Option<i16>,
    done_body: Option<Vec<u8>>,
}

pub async fn begin(
    db: &PgPool,
    merchant: &str,
    key: &str,
    req: &PayReq,
    lease: Duration,
) -> sqlx::Result<Begun> {
    let row: Row = sqlx::query_as(
        "SELECT verdict, intent_id, attempt, done_status, done_body
         FROM begin_attempt($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(Uuid::new_v4())
    .bind(merchant)
    .bind(key)
    .bind(req.fingerprint())
    .bind(req.order_id.replace('\0', "\u{fffd}"))
    .bind(serde_json::Value::from(req.order_id.as_str()).to_string())
    .bind(req.amount_cents)
    .bind(&req.currency)
    .bind(lease.as_secs_f64().min(1e9))
    .fetch_one(db)
    .await?;
    Ok(
        match (row.verdict.as_str(), row.attempt, row.done_status, row.done_body) {
            ("yours", Some(attempt), _, _) => Begun::Yours {
                intent: row.intent_id,
                attempt,
            },
            ("done", _, Some(status), Some(body)) => Begun::Done(Outcome { status, body }),
            ("reuse", ..) => Begun::Reuse,
            _ => Begun::Busy,
        },
    )
}

pub async fn end(
    db: &PgPool,
    intent: Uuid,
    attempt: i32,
    status: u16,
    body: &[u8],
    charge_id: Option<&str>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT end_attempt($1, $2, $3, $4, $5)")
        .bind(intent)
        .bind(attempt)
        .bind(status as i16)
        .bind(body)
        .bind(charge_id)
        .fetch_one(db)
        .await
}

/// Gives back what is left of the lease. A later attempt has a row of its own.
pub async fn give_back(db: &PgPool, intent: Uuid, attempt: i32) -> sqlx::Result<()> {
    sqlx::query("UPDATE attempts SET until = '-infinity' WHERE intent = $1 AND number = $2")
        .bind(intent)
        .bind(attempt)
        .execute(db)
        .await?;
    Ok(())
}

/// Frees a key whose only attempt charged nothing.
pub async fn forget(db: &PgPool, intent: Uuid) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM intents i WHERE i.id = $1
         AND NOT EXISTS (SELECT FROM attempts a WHERE a.intent = i.id AND a.number > 1)",
    )
    .bind(intent)
    .execute(db)
    .await?;
    Ok(())
}

pub async fn outcome(db: &PgPool, intent: Uuid) -> sqlx::Result<Option<Outcome>> {
    sqlx::query_as("SELECT status, body FROM outcomes WHERE intent = $1")
        .bind(intent)
        .fetch_optional(db)
        .await
}

/// The next payments after `after` whose last attempt is over without an outcome.
pub async fn orphans(db: &PgPool, after: Uuid, limit: i64) -> sqlx::Result<Vec<Orphan>> {
    sqlx::query_as(
        "SELECT i.id AS intent, a.number AS attempt, i.order_json, i.amount_cents, i.currency
         FROM intents i
         CROSS JOIN LATERAL (
             SELECT number, until FROM attempts WHERE intent = i.id ORDER BY number DESC LIMIT 1
         ) a
         WHERE i.id > $1
           AND a.until <= clock_timestamp()
           AND NOT EXISTS (SELECT FROM outcomes o WHERE o.intent = i.id)
         ORDER BY i.id
         LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await
}

pub async fn purge(db: &PgPool, finished_before: OffsetDateTime) -> sqlx::Result<u64> {
    let purged =
        sqlx::query("DELETE FROM intents i USING outcomes o WHERE o.intent = i.id AND o.finished_at < $1")
            .bind(finished_before)
            .execute(db)
            .await?;
    Ok(purged.rows_affected())
}
