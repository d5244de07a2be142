//! A row for each day.

use async_trait::async_trait;
use chrono::NaiveDate;
use sqlx::PgPool;
use tokio::sync::OnceCell;

use super::{DayLock, Take, next_fence};
use crate::error::LockError;
use crate::ext;
use crate::reporter::LockCfg;

pub struct PgDays {
    replica: String,
    url: String,
    db: OnceCell<PgPool>,
}

impl PgDays {
    pub fn new(replica: String, url: String, _cfg: LockCfg) -> PgDays {
        PgDays {
            replica,
            url,
            db: OnceCell::new(),
        }
    }

    async fn db(&self) -> Result<&PgPool, LockError> {
        self.db.get_or_try_init(async || ext::postgres(&self.url)).await
    }
}

#[async_trait]
impl DayLock for PgDays {
    async fn take(&self, day: NaiveDate) -> Result<Take, LockError> {
        let db = self.db().await?;
        sqlx::query("INSERT INTO report_days (day) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(day)
            .execute(db)
            .await
            .map_err(LockError::backend)?;
        let (status, replica): (String, Option<String>) =
            sqlx::query_as("SELECT status, replica FROM report_days WHERE day = $1")
                .bind(day)
                .fetch_one(db)
                .await
                .map_err(LockError::backend)?;
        match status.as_str() {
            "pending" => {}
            "done" => return Ok(Take::Done),
            _ => {
                return Ok(Take::Held {
                    by: replica.unwrap_or_default(),
                });
            }
        }
        sqlx::query("UPDATE report_days SET status = 'running', replica = $2, started_at = now() WHERE day = $1 AND status = 'pending'")
            .bind(day)
            .bind(&self.replica)
            .execute(db)
            .await
            .map_err(LockError::backend)?;
        Ok(Take::Taken { fence: next_fence() })
    }

    async fn done(&self, day: NaiveDate) -> Result<(), LockError> {
        sqlx::query("UPDATE report_days SET status = 'done', finished_at = now() WHERE day = $1")
            .bind(day)
            .execute(self.db().await?)
            .await
            .map_err(LockError::backend)?;
        Ok(())
    }
}
