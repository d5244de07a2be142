//! The tables: `requests` are what merchants asked for, `attempts` who was at them, `answers` how they ended, and
//! `payments` is the ledger. Rows are written once and never changed.

use std::time::Duration;

use bytes::Bytes;
use sqlx::PgPool;
use sqlx::types::time::OffsetDateTime;

use crate::psp::Receipt;
use crate::request::PayReq;

#[derive(sqlx::FromRow)]
pub struct KnownKey {
    pub fingerprint: Vec<u8>,
    pub status: Option<i32>,
    pub body: Option<Vec<u8>>,
}

pub async fn find(db: &PgPool, merchant: &str, key: &str) -> sqlx::Result<Option<KnownKey>> {
    sqlx::query_as(
        "SELECT r.fingerprint, a.status, a.body
         FROM requests r LEFT JOIN answers a USING (merchant, key)
         WHERE merchant = $1 AND key = $2",
    )
    .bind(merchant)
    .bind(key)
    .fetch_optional(db)
    .await
}

/// Begins an attempt, and says the how-manieth it is; `None` when there is one whose lease still runs.
pub async fn begin(
    db: &PgPool,
    merchant: &str,
    key: &str,
    req: &PayReq,
    lease: Duration,
) -> sqlx::Result<Option<i64>> {
    sqlx::query(
        "INSERT INTO requests (merchant, key, fingerprint, request) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(merchant)
    .bind(key)
    .bind(req.fingerprint())
    .bind(serde_json::to_string(req).map_err(|err| sqlx::Error::Encode(err.into()))?)
    .execute(db)
    .await?;
    let begun = sqlx::query_scalar(
        "INSERT INTO attempts (merchant, key, number, lease_until)
         SELECT r.merchant, r.key, coalesce(max(t.number), 0) + 1, now() + make_interval(secs => $4)
         FROM requests r LEFT JOIN attempts t USING (merchant, key)
         WHERE r.merchant = $1 AND r.key = $2 AND r.fingerprint = $3
         AND NOT EXISTS (SELECT FROM answers a WHERE a.merchant = r.merchant AND a.key = r.key)
         GROUP BY r.merchant, r.key
         HAVING coalesce(max(t.lease_until), '-infinity') < now()
         ON CONFLICT DO NOTHING
         RETURNING number",
    )
    .bind(merchant)
    .bind(key)
    .bind(req.fingerprint())
    .bind(lease.as_secs_f64())
    .fetch_optional(db)
    .await?;
    Ok(begun)
}

/// False: another attempt has followed, or answered.
pub async fn answer(
    db: &PgPool,
    merchant: &str,
    key: &str,
    number: i64,
    (status, body): (u16, &Bytes),
    paid: Option<(&PayReq, &Receipt)>,
) -> sqlx::Result<bool> {
    let mut tx = db.begin().await?;
    let answered = sqlx::query(
        "INSERT INTO answers (merchant, key, status, body)
         SELECT $1, $2, $4, $5
         WHERE NOT EXISTS (SELECT FROM attempts WHERE merchant = $1 AND key = $2 AND number > $3)
         ON CONFLICT DO NOTHING",
    )
    .bind(merchant)
    .bind(key)
    .bind(number)
    .bind(i32::from(status))
    .bind(body.as_ref())
    .execute(&mut *tx)
    .await?;
    if answered.rows_affected() == 0 {
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

/// The attempt certainly charged nothing: its lease need not be waited for.
pub async fn give_up(db: &PgPool, merchant: &str, key: &str, number: i64) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE attempts SET lease_until = '-infinity' WHERE merchant = $1 AND key = $2 AND number = $3",
    )
    .bind(merchant)
    .bind(key)
    .bind(number)
    .execute(db)
    .await?;
    Ok(())
}

pub async fn purge(db: &PgPool, before: OffsetDateTime) -> sqlx::Result<u64> {
    let purged = sqlx::query(
        "WITH gone AS (DELETE FROM answers WHERE at < $1 RETURNING merchant, key),
              tried AS (DELETE FROM attempts t USING gone g WHERE t.merchant = g.merchant AND t.key = g.key)
         DELETE FROM requests r USING gone g WHERE r.merchant = g.merchant AND r.key = g.key",
    )
    .bind(before)
    .execute(db)
    .await?;
    Ok(purged.rows_affected())
}
