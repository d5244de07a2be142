//! The tables: `idempotency_keys` remembers requests, `payments` is the ledger.

use std::time::Duration;

use bytes::Bytes;
use sqlx::PgPool;
use sqlx::types::time::OffsetDateTime;
use uuid::Uuid;

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

/// Makes `owner` the only attempt that may finish the key, for as long as `lease`, and says the how-manieth it is.
/// None: the key is finished, or another attempt's lease still runs, or it stands for another request.
///
/// One statement, so that the unique index decides between duplicates. It returns no row for the loser: what the
/// winner wrote may be invisible to this statement's snapshot, and has to be read by the next one.
pub async fn claim(
    db: &PgPool,
    merchant: &str,
    key: &str,
    req: &PayReq,
    owner: Uuid,
    lease: Duration,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "INSERT INTO idempotency_keys AS k (merchant, key, fingerprint, request, owner, locked_until)
         VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
         ON CONFLICT (merchant, key) DO UPDATE
             SET owner = excluded.owner, locked_until = excluded.locked_until, attempts = k.attempts + 1
             WHERE k.finished_at IS NULL AND k.locked_until < now() AND k.fingerprint = excluded.fingerprint
         RETURNING attempts",
    )
    .bind(merchant)
    .bind(key)
    .bind(req.fingerprint())
    .bind(serde_json::to_string(req).map_err(|err| sqlx::Error::Encode(err.into()))?)
    .bind(owner)
    .bind(lease.as_secs_f64())
    .fetch_optional(db)
    .await
}

/// Stores the answer and the ledger's row in one transaction. False: `owner` has lost the key in the meantime.
pub async fn finish(
    db: &PgPool,
    merchant: &str,
    key: &str,
    owner: Uuid,
    (status, body): (u16, &Bytes),
    paid: Option<(&PayReq, &Receipt)>,
) -> sqlx::Result<bool> {
    let mut tx = db.begin().await?;
    let finished = sqlx::query(
        "UPDATE idempotency_keys SET status = $4, body = $5, finished_at = now()
         WHERE merchant = $1 AND key = $2 AND owner = $3 AND finished_at IS NULL",
    )
    .bind(merchant)
    .bind(key)
    .bind(owner)
    .bind(i32::from(status))
    .bind(body.as_ref())
    .execute(&mut *tx)
    .await?;
    if finished.rows_affected() == 0 {
        return Ok(false);
    }
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
    Ok(true)
}

/// The provider has certainly charged nothing: the key is free again, and the merchant can try again at once.
pub async fn release(db: &PgPool, merchant: &str, key: &str, owner: Uuid) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM idempotency_keys
         WHERE merchant = $1 AND key = $2 AND owner = $3 AND finished_at IS NULL",
    )
    .bind(merchant)
    .bind(key)
    .bind(owner)
    .execute(db)
    .await?;
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
