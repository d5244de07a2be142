//! The tables: `idempotency_keys` remembers requests, `payments` is the ledger.

use bytes::Bytes;
use sqlx::types::time::OffsetDateTime;
use sqlx::{PgConnection, PgPool};

use crate::psp::Receipt;
use crate::request::PayReq;

/// A key that was seen before, and the answer it led to.
#[derive(sqlx::FromRow)]
pub struct KnownKey {
    pub fingerprint: Vec<u8>,
    pub status: Option<i32>,
    pub body: Option<Vec<u8>>,
}

pub async fn find(db: &PgPool, merchant: &str, key: &str) -> sqlx::Result<Option<KnownKey>> {
    sqlx::query_as("SELECT fingerprint, status, body FROM idempotency_keys WHERE merchant = $1 AND key = $2")
        .bind(merchant)
        .bind(key)
        .fetch_optional(db)
        .await
}

/// Takes the key for as long as the transaction is open; duplicates wait for its end.
pub async fn claim(
    tx: &mut PgConnection,
    merchant: &str,
    key: &str,
    req: &PayReq,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "INSERT INTO idempotency_keys AS k (merchant, key, fingerprint, request, locked_until)
         VALUES ($1, $2, $3, $4, now())
         ON CONFLICT (merchant, key) DO UPDATE SET attempts = k.attempts + 1
             WHERE k.finished_at IS NULL AND k.fingerprint = excluded.fingerprint
         RETURNING attempts",
    )
    .bind(merchant)
    .bind(key)
    .bind(req.fingerprint())
    .bind(serde_json::to_string(req).map_err(|err| sqlx::Error::Encode(err.into()))?)
    .fetch_optional(tx)
    .await
}

/// Stores the answer and the ledger's row.
pub async fn finish(
    tx: &mut PgConnection,
    merchant: &str,
    key: &str,
    (status, body): (u16, &Bytes),
    paid: Option<(&PayReq, &Receipt)>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE idempotency_keys SET status = $3, body = $4, finished_at = now()
         WHERE merchant = $1 AND key = $2",
    )
    .bind(merchant)
    .bind(key)
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
    Ok(())
}

/// The unfinished payments that nobody is at: merchant, key, request.
pub async fn abandoned(db: &PgPool) -> sqlx::Result<Vec<(String, String, String)>> {
    sqlx::query_as(
        "SELECT merchant, key, request FROM idempotency_keys
         WHERE finished_at IS NULL AND locked_until < now()
         ORDER BY locked_until
         LIMIT 100",
    )
    .fetch_all(db)
    .await
}

pub async fn purge(db: &PgPool, before: OffsetDateTime) -> sqlx::Result<u64> {
    let purged = sqlx::query("DELETE FROM idempotency_keys WHERE finished_at < $1")
        .bind(before)
        .execute(db)
        .await?;
    Ok(purged.rows_affected())
}
