//! An advisory lock for each day, of a transaction that is as long as the run, and a row for each day that is done.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::NaiveDate;
use sqlx::{Connection, PgConnection};
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
        let begun = sqlx::query("BEGIN").execute(&mut db).await;
        begun.map_err(LockError::backend)?;
        let (locked,): (bool,) =
            sqlx::query_as("SELECT pg_try_advisory_xact_lock(7, $1::date - '2000-01-01'::date)")
                .bind(day)
                .fetch_one(&mut db)
                .await
                .map_err(LockError::backend)?;
        if !locked {
            return Ok(Take::Held { by: String::new() });
        }
        // A statement of its own: it sees what was committed before the lock was ours.
        let (done, fence): (bool, i64) = sqlx::query_as(
            "SELECT EXISTS (SELECT FROM report_days WHERE day = $1 AND status = 'done'), nextval('report_fences')",
        )
        .bind(day)
        .fetch_one(&mut db)
        .await
        .map_err(LockError::backend)?;
        Ok(match done {
            true => Take::Done,
            false => Take::Taken(Lease {
                day,
                fence: u64::try_from(fence).unwrap_or(0),
                id: 0,
                session: Some(Arc::new(Mutex::new(db))),
            }),
        })
    }

    /// The lock is there as long as the transaction is.
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
        let recorded = sqlx::query(
            "INSERT INTO report_days (day, status, replica, fence) VALUES ($1, 'done', $2, $3)
             ON CONFLICT (day) DO UPDATE SET status = 'done', replica = $2, fence = $3",
        )
        .bind(lease.day)
        .bind(&self.replica)
        .bind(i64::try_from(lease.fence).unwrap_or(i64::MAX))
        .execute(&mut *db)
        .await;
        recorded.map_err(LockError::backend)?;
        let committed = sqlx::query("COMMIT").execute(&mut *db).await;
        committed.map(|_| true).map_err(LockError::backend)
    }

    async fn free(&self, lease: Lease) -> Result<(), LockError> {
        let Some(session) = lease.session else {
            return Ok(());
        };
        let mut db = session.lock().await;
        let rolled_back = sqlx::query("ROLLBACK").execute(&mut *db).await;
        rolled_back.map(drop).map_err(LockError::backend)
    }
}
