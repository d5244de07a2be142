//! The tables: `idempotency_keys` remembers requests, `payments` is the ledger.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::types::time::OffsetDateTime;

use crate::psp::Receipt;
use crate::request::PayReq;

/// A key that was seen before, and the payment it led to.
#[derive(sqlx::FromRow)]
pub struct KnownKey {
    pub fingerprint: Vec<u8>,
    pub charge_id: Option<String>,
    pub created_at: Option<OffsetDateTime>,
}

pub async fn find(db: &PgPool, merchant: &str, key: &str) -> sqlx::Result<Option<KnownKey>> {
    sqlx::query_as(
        "SELECT k.fingerprint, p.charge_id, p.created_at
         FROM idempotency_keys k LEFT JOIN payments p ON p.id = k.payment_id
         WHERE k.merchant = $1 AND k.key = $2 AND (k.payment_id IS NOT NULL OR k.locked_until > now())
         ORDER BY k.id
         LIMIT 1",
    )
    .bind(merchant)
    .bind(key)
    .fetch_optional(db)
    .await
}

/// Marks the key as in use for as long as `lease`, so that a duplicate does not start as well.
pub async fn claim(
    db: &PgPool,
    merchant: &str,
    key: &str,
    fingerprint: &[u8],
    lease: Duration,
) -> sqlx::Result<bool> {
    let claimed = sqlx::query(
        "INSERT INTO idempotency_keys AS k (merchant, key, fingerprint, locked_until)
         VALUES ($1, $2, $3, now() + make_interval(secs => $4))
         ON CONFLICT (merchant, key) DO UPDATE SET locked_until = excluded.locked_until
         WHERE k.payment_id IS NULL AND k.locked_until < now()",
    )
    .bind(merchant)
    .bind(key)
    .bind(fingerprint)
    .bind(lease.as_secs_f64())
    .execute(db)
    .await?;
    Ok(claimed.rows_affected() == 1)
}

pub async fn record(db: &PgPool, merchant: &str, req: &PayReq, receipt: &Receipt) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "INSERT INTO payments (merchant, order_id, amount_cents, currency, charge_id)
         VALUES ($1, $2, $3, $4, $5)
         RETURNING id",
    )
    .bind(merchant)
    .bind(&req.order_id)
    .bind(req.amount_cents)
    .bind(&req.currency)
    .bind(&receipt.charge_id)
    .fetch_one(db)
    .await
}

pub async fn finish(db: &PgPool, merchant: &str, key: &str, payment_id: i64) -> sqlx::Result<()> {
    sqlx::query("UPDATE idempotency_keys SET payment_id = $3 WHERE merchant = $1 AND key = $2")
        .bind(merchant)
        .bind(key)
        .bind(payment_id)
        .execute(db)
        .await?;
    Ok(())
}

/// Frees the key of a request that failed, so that the merchant can send it again.
pub async fn release(db: &PgPool, merchant: &str, key: &str) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM idempotency_keys WHERE merchant = $1 AND key = $2 AND payment_id IS NULL")
        .bind(merchant)
        .bind(key)
        .execute(db)
        .await?;
    Ok(())
}

pub async fn release_expired(db: &PgPool) -> sqlx::Result<u64> {
    let released =
        sqlx::query("DELETE FROM idempotency_keys WHERE payment_id IS NULL AND locked_until < now()")
            .execute(db)
            .await?;
    Ok(released.rows_affected())
}

pub async fn purge(db: &PgPool, before: OffsetDateTime) -> sqlx::Result<u64> {
    let purged = sqlx::query("DELETE FROM idempotency_keys WHERE created_at < $1")
        .bind(before)
        .execute(db)
        .await?;
    Ok(purged.rows_affected())
}
