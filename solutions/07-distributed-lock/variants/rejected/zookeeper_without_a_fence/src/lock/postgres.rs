//! A row for each day.

use std::time::Duration;

use async_trait::async_trait;
use chrono::NaiveDate;
use sqlx::PgPool;
use tokio::sync::OnceCell;

use super::{DayLock, Lease, Take};
use crate::error::LockError;
use crate::ext;
use crate::reporter::LockCfg;

pub struct PgDays {
    replica: String,
    url: String,
    cfg: LockCfg,
    db: OnceCell<PgPool>,
}

impl PgDays {
    pub fn new(replica: String, url: String, cfg: LockCfg) -> PgDays {
        PgDays {
            replica,
            url,
            cfg,
            db: OnceCell::new(),
        }
    }

    async fn db(&self) -> Result<&PgPool, LockError> {
        self.db.get_or_try_init(async || ext::postgres(&self.url)).await
    }

    /// Sets the day's row if the day is still ours; whether it was.
    async fn set(&self, lease: Lease, status: &str, time: Duration) -> Result<bool, LockError> {
        let updated = sqlx::query(
            "UPDATE report_days SET status = $3, lease_until = clock_timestamp() + make_interval(secs => $4)
             WHERE day = $1 AND fence = $2 AND status = 'running'",
        )
        .bind(lease.day)
        .bind(i64::try_from(lease.fence).unwrap_or(i64::MAX))
        .bind(status)
        .bind(time.as_secs_f64())
        .execute(self.db().await?)
        .await
        .map_err(LockError::backend)?;
        Ok(updated.rows_affected() == 1)
    }
}

#[async_trait]
impl DayLock for PgDays {
    async fn take(&self, day: NaiveDate) -> Result<Take, LockError> {
        let db = self.db().await?;
        // One statement: the database decides between replicas, by its own clock.
        let taken: Option<(i64,)> = sqlx::query_as(
            "INSERT INTO report_days AS d (day, status, replica, started_at, lease_until, fence)
             VALUES ($1, 'running', $2, now(), clock_timestamp() + make_interval(secs => $3), 1)
             ON CONFLICT (day) DO UPDATE
             SET status = 'running', replica = $2, started_at = now(), fence = d.fence + 1,
                 lease_until = clock_timestamp() + make_interval(secs => $3)
             WHERE d.status <> 'done' AND d.lease_until < clock_timestamp()
             RETURNING fence",
        )
        .bind(day)
        .bind(&self.replica)
        .bind(self.cfg.ttl.as_secs_f64())
        .fetch_optional(db)
        .await
        .map_err(LockError::backend)?;
        if let Some((fence,)) = taken {
            let fence = u64::try_from(fence).unwrap_or(0);
            return Ok(Take::Taken(Lease {
                day,
                fence,
                session: None,
            }));
        }
        let (status, by): (String, Option<String>) =
            sqlx::query_as("SELECT status, replica FROM report_days WHERE day = $1")
                .bind(day)
                .fetch_one(db)
                .await
                .map_err(LockError::backend)?;
        Ok(match status.as_str() {
            "done" => Take::Done,
            _ => Take::Held {
                by: by.unwrap_or_default(),
            },
        })
    }

    async fn renew(&self, lease: Lease) -> Result<bool, LockError> {
        self.set(lease, "running", self.cfg.ttl).await
    }

    async fn done(&self, lease: Lease) -> Result<bool, LockError> {
        self.set(lease, "done", Duration::ZERO).await
    }

    async fn free(&self, lease: Lease) -> Result<(), LockError> {
        self.set(lease, "pending", Duration::ZERO).await.map(drop)
    }
}
