//! A key for each day that is being worked on.

use async_trait::async_trait;
use chrono::NaiveDate;
use redis::AsyncCommands;
use redis::aio::ConnectionManager;
use tokio::sync::OnceCell;

use super::{DayLock, Take, next_fence};
use crate::error::LockError;
use crate::ext;
use crate::reporter::LockCfg;

pub struct RedisDays {
    replica: String,
    url: String,
    cfg: LockCfg,
    redis: OnceCell<ConnectionManager>,
}

impl RedisDays {
    pub fn new(replica: String, url: String, cfg: LockCfg) -> RedisDays {
        RedisDays {
            replica,
            url,
            cfg,
            redis: OnceCell::new(),
        }
    }

    async fn redis(&self) -> Result<ConnectionManager, LockError> {
        let redis = self.redis.get_or_try_init(|| ext::redis(&self.url)).await?;
        Ok(redis.clone())
    }
}

fn key(day: NaiveDate) -> String {
    format!("lock:report:{day}")
}

#[async_trait]
impl DayLock for RedisDays {
    async fn take(&self, day: NaiveDate) -> Result<Take, LockError> {
        let mut redis = self.redis().await?;
        let taken: bool = redis
            .set_nx(key(day), &self.replica)
            .await
            .map_err(LockError::backend)?;
        if !taken {
            let by: Option<String> = redis.get(key(day)).await.map_err(LockError::backend)?;
            return Ok(Take::Held {
                by: by.unwrap_or_default(),
            });
        }
        let ttl = i64::try_from(self.cfg.ttl.as_millis()).unwrap_or(i64::MAX);
        let _: bool = redis.pexpire(key(day), ttl).await.map_err(LockError::backend)?;
        Ok(Take::Taken { fence: next_fence() })
    }

    async fn done(&self, day: NaiveDate) -> Result<(), LockError> {
        let _: u64 = self
            .redis()
            .await?
            .del(key(day))
            .await
            .map_err(LockError::backend)?;
        Ok(())
    }
}
