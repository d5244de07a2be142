//! An advisory lock for each day, on a connection of its own, and a row for each day that is done.

use async_trait::async_trait;
use chrono::NaiveDate;
use sqlx::{Connection, PgConnection};
use std::sync::Arc;
use tokio::sync::Mutex;

use super::{DayLock, Lease, Take};
use crate::error::LockError;
use crate::reporter::LockCfg;

pub struct PgDays {
    replica: String,
    url: String,
}

impl PgDays {
    pub fn new(replica: String, url: String, _cfg: LockCfg) -> PgDays {
        PgDays { replica, url }
    }
}

#[async_trait]
impl DayLock for PgDays {
    async fn take(&self, day: NaiveDate) -> Result<Take, LockError> {
        let mut db = PgConnection::connect(&self.url)
            .await
            .map_err(LockError::backend)?;
        let (locked,): (bool,) = sqlx::query_as("SELECT pg_try_advisory_lock(7, $1::date - '2000-01-01'::date)")
            .bind(day)
            .fetch_one(&mut db)
            .await
            .map_err(LockError::backend)?;
        if !locked {
            return Ok(Take::Held { by: String::new() });
        }
        let taken: Option<(i64,)> = sqlx::query_as(
            "INSERT INTO report_days AS d (day, status, replica, started_at, fence) VALUES ($1, 'running', $2, now(), 1)
             ON CONFLICT (day) DO UPDATE SET replica = $2, started_at = now(), fence = d.fence + 1
             WHERE d.status <> 'done' RETURNING fence",
        )
        .bind(day)
        .bind(&self.replica)
        .fetch_optional(&mut db)
        .await
        .map_err(LockError::backend)?;
        Ok(match taken {
            None => Take::Done,
            Some((fence,)) => Take::Taken(Lease {
                day,
                fence: u64::try_from(fence).unwrap_or(0),
                id: 0,
                session: Some(Arc::new(Mutex::new(db))),
            }),
        })
    }

    /// The lock is there as long as the connection is.
    async fn renew(&self, lease: Lease) -> Result<bool, LockError> {
        let Some(session) = lease.session else {
            return Ok(false);
        };
        let mut db = session.lock().await;
        Ok(sqlx::query("SELECT 1").execute(&mut *db).await.is_ok())
    }

    async fn done(&self, lease: Lease) -> Result<bool, LockError> {
        let Some(session) = lease.session else {
            return Ok(false);
        };
        let mut db = session.lock().await;
        let done = sqlx::query("UPDATE report_days SET status = 'done' WHERE day = $1 AND fence = $2")
            .bind(lease.day)
            .bind(i64::try_from(lease.fence).unwrap_or(i64::MAX))
            .execute(&mut *db)
            .await
            .map_err(LockError::backend)?;
        Ok(done.rows_affected() == 1)
    }

    async fn free(&self, lease: Lease) -> Result<(), LockError> {
        let Some(session) = lease.session else {
            return Ok(());
        };
        let mut db = session.lock().await;
        sqlx::query("SELECT pg_advisory_unlock_all()")
            .execute(&mut *db)
            .await
            .map(drop)
            .map_err(LockError::backend)
    }
}
