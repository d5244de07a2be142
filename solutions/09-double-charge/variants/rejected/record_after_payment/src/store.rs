//! The tables: `idempotency_keys` remembers requests, `payments` is the ledger.

use bytes::Bytes;
use sqlx::PgPool;
use sqlx::types::time::OffsetDateTime;

use crate::psp::Receipt;
use crate::request::PayReq;

/// A key that was seen before, and the answer it led to.
#[derive(sqlx::FromRow)]
pub struct KnownKey {
    pub fingerprint: Vec<u8>,
    pub status: i32,
    pub body: Vec<u8>,
}

pub async fn find(db: &PgPool, merchant: &str, key: &str) -> sqlx::Result<Option<KnownKey>> {
    sqlx::query_as("SELECT fingerprint, status, body FROM idempotency_keys WHERE merchant = $1 AND key = $2")
        .bind(merchant)
        .bind(key)
        .fetch_optional(db)
        .await
}

/// Stores the answer and the ledger's row in one transaction. False: another request was first.
pub async fn record(
    db: &PgPool,
    merchant: &str,
    key: &str,
    req: &PayReq,
    (status, body): (u16, &Bytes),
    paid: Option<(&PayReq, &Receipt)>,
) -> sqlx::Result<bool> {
    let mut tx = db.begin().await?;
    let recorded = sqlx::query(
        "INSERT INTO idempotency_keys (merchant, key, fingerprint, status, body, finished_at)
         VALUES ($1, $2, $3, $4, $5, now())
         ON CONFLICT (merchant, key) DO NOTHING",
    )
    .bind(merchant)
    .bind(key)
    .bind(req.fingerprint())
    .bind(i32::from(status))
    .bind(body.as_ref())
    .execute(&mut *tx)
    .await?;
    if let Some((req, receipt)) = paid {
        sqlx::query(
            "INSERT INTO payments (merchant, order_id, amount_cents, currency, charge_id)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(merchant)
        .bind(&req.order_id)
        .bind(req.amount_cents)
        .bind(&req.currency)
        .bind(&receipt.charge_id)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(recorded.rows_affected() > 0)
}

pub async fn purge(db: &PgPool, before: OffsetDateTime) -> sqlx::Result<u64> {
    let purged = sqlx::query("DELETE FROM idempotency_keys WHERE finished_at < $1")
        .bind(before)
        .execute(db)
        .await?;
    Ok(purged.rows_affected())
}
