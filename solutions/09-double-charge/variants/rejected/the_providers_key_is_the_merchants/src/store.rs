//! The tables: `idempotency_keys` remembers requests, `payments` is the ledger.
//!
//! Every function is one statement that commits by itself: no row lock outlives it, whatever becomes of the caller.

use std::future::Future;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::types::time::OffsetDateTime;

use crate::psp::Receipt;
use crate::request::{PayError, PayReq};

/// How long a statement, with the wait for a connection, may take before the merchant is told to try again.
const PATIENCE: Duration = Duration::from_secs(8);

/// `make_interval` takes no more than this; a lease of ten years is long enough.
const LONGEST_LEASE: f64 = 315_360_000.0;

/// The right to work on a key, until the lease ends or somebody follows.
#[derive(sqlx::FromRow)]
pub struct Claim {
    pub id: i64,
    pub fence: i64,
    pub psp_key: String,
}

#[derive(sqlx::FromRow)]
pub struct Known {
    pub fingerprint: Vec<u8>,
    pub status: Option<i16>,
    pub body: Option<Vec<u8>>,
}

async fn patiently<T>(statement: impl Future<Output = sqlx::Result<T>>) -> Result<T, PayError> {
    match tokio::time::timeout(PATIENCE, statement).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(PayError::Retry("the database does not answer".to_owned())),
    }
}

fn seconds(lease: Duration) -> f64 {
    lease.as_secs_f64().min(LONGEST_LEASE)
}

/// Takes a new key, or one of the same request whose last attempt has outlived its lease.
pub async fn claim(
    db: &PgPool,
    merchant: &str,
    key: &str,
    fingerprint: &[u8],
    fresh_psp_key: &str,
    lease: Duration,
) -> Result<Option<Claim>, PayError> {
    patiently(
        sqlx::query_as(
            "INSERT INTO idempotency_keys AS k (merchant, key, fingerprint, psp_key, locked_until)
             VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
             ON CONFLICT (merchant, key) DO UPDATE
                 SET fence = k.fence + 1,
                     locked_until = clock_timestamp() + make_interval(secs => $5)
                 WHERE k.status IS NULL
                   AND k.fingerprint = excluded.fingerprint
                   AND k.locked_until <= clock_timestamp()
             RETURNING k.id, k.fence, k.psp_key",
        )
        .bind(merchant)
        .bind(key)
        .bind(fingerprint)
        .bind(fresh_psp_key)
        .bind(seconds(lease))
        .fetch_optional(db),
    )
    .await
}

pub async fn find(db: &PgPool, merchant: &str, key: &str) -> Result<Option<Known>, PayError> {
    patiently(
        sqlx::query_as(
            "SELECT fingerprint, status, body FROM idempotency_keys WHERE merchant = $1 AND key = $2",
        )
        .bind(merchant)
        .bind(key)
        .fetch_optional(db),
    )
    .await
}

pub async fn prolong(db: &PgPool, claim: &Claim, lease: Duration) -> Result<(), PayError> {
    patiently(
        sqlx::query(
            "UPDATE idempotency_keys SET locked_until = clock_timestamp() + make_interval(secs => $3)
             WHERE id = $1 AND fence = $2 AND status IS NULL",
        )
        .bind(claim.id)
        .bind(claim.fence)
        .bind(seconds(lease))
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Writes the answer and the ledger's row; false when another attempt has followed this one.
pub async fn finish_paid(
    db: &PgPool,
    claim: &Claim,
    merchant: &str,
    req: &PayReq,
    receipt: &Receipt,
    status: u16,
    body: &[u8],
) -> Result<bool, PayError> {
    let written = patiently(
        sqlx::query(
            "WITH finished AS (
                 UPDATE idempotency_keys SET status = $3, body = $4, finished_at = clock_timestamp()
                 WHERE id = $1 AND fence = $2 AND status IS NULL
                 RETURNING id
             )
             INSERT INTO payments (merchant, order_id, amount_cents, currency, charge_id)
             SELECT $5::text, $6::text, $7::bigint, $8::text, $9::text FROM finished",
        )
        .bind(claim.id)
        .bind(claim.fence)
        .bind(status as i16)
        .bind(body)
        .bind(merchant)
        .bind(req.order_id.replace('\0', "\u{fffd}")) // text has no room for a NUL
        .bind(req.amount_cents)
        .bind(&req.currency)
        .bind(&receipt.charge_id)
        .execute(db),
    )
    .await?;
    Ok(written.rows_affected() == 1)
}

pub async fn finish_declined(db: &PgPool, claim: &Claim, status: u16, body: &[u8]) -> Result<bool, PayError> {
    let written = patiently(
        sqlx::query(
            "UPDATE idempotency_keys SET status = $3, body = $4, finished_at = clock_timestamp()
             WHERE id = $1 AND fence = $2 AND status IS NULL",
        )
        .bind(claim.id)
        .bind(claim.fence)
        .bind(status as i16)
        .bind(body)
        .execute(db),
    )
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Ends the lease early. The key stays: it belongs to this request and to this psp_key.
pub async fn release(db: &PgPool, claim: &Claim) -> Result<(), PayError> {
    patiently(
        sqlx::query(
            "UPDATE idempotency_keys SET fence = fence + 1, locked_until = clock_timestamp()
             WHERE id = $1 AND fence = $2 AND status IS NULL",
        )
        .bind(claim.id)
        .bind(claim.fence)
        .execute(db),
    )
    .await?;
    Ok(())
}

pub async fn purge(db: &PgPool, finished_before: OffsetDateTime) -> Result<u64, PayError> {
    let purged = sqlx::query("DELETE FROM idempotency_keys WHERE finished_at < $1")
        .bind(finished_before)
        .execute(db)
        .await?;
    Ok(purged.rows_affected())
}
