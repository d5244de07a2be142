//! A key for each day that is being worked on, one for each day that is done, and one that counts.

use async_trait::async_trait;
use chrono::NaiveDate;
use redis::Script;
use redis::aio::ConnectionManager;
use tokio::sync::OnceCell;

use super::{DayLock, Lease, Take};
use crate::error::LockError;
use crate::ext;
use crate::reporter::LockCfg;

/// Takes the day, for a time, in one step: `{fence, ''}`, `{0, holder}`, or `{0, false}` when it is done.
const TAKE: &str = "
    if redis.call('EXISTS', KEYS[2]) == 1 then return {0, false} end
    local holder = redis.call('GET', KEYS[1])
    if holder then return {0, holder} end
    local fence = redis.call('INCR', KEYS[3])
    redis.call('SET', KEYS[1], ARGV[1] .. '#' .. fence, 'PX', ARGV[2])
    return {fence, ''}";

const RENEW: &str = "
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

const DONE: &str = "
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
    redis.call('SET', KEYS[2], ARGV[1])
    return redis.call('DEL', KEYS[1])";

const FREE: &str = "
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
    return redis.call('DEL', KEYS[1])";

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

    async fn run<T: redis::FromRedisValue>(
        &self,
        script: &str,
        day: NaiveDate,
        token: &str,
    ) -> Result<T, LockError> {
        let redis = self.redis.get_or_try_init(|| ext::redis(&self.url)).await?;
        let ttl = u64::try_from(self.cfg.ttl.as_millis()).unwrap_or(u64::MAX);
        Script::new(script)
            .key(format!("lock:report:{day}"))
            .key(format!("done:report:{day}"))
            .key(format!("fence:report:{day}"))
            .arg(token)
            .arg(ttl)
            .invoke_async(&mut redis.clone())
            .await
            .map_err(LockError::backend)
    }

    /// Whether the script said that the day was still ours.
    async fn ours(&self, script: &str, lease: Lease) -> Result<bool, LockError> {
        let token = format!("{}#{}", self.replica, lease.fence);
        let said: Option<i64> = self.run(script, lease.day, &token).await?;
        Ok(said == Some(1))
    }
}

#[async_trait]
impl DayLock for RedisDays {
    async fn take(&self, day: NaiveDate) -> Result<Take, LockError> {
        let said: (u64, Option<String>) = self.run(TAKE, day, &self.replica).await?;
        Ok(match said {
            (0, None) => Take::Done,
            (0, Some(holder)) => Take::Held {
                by: holder.split('#').next().unwrap_or_default().to_owned(),
            },
            (fence, _) => Take::Taken(Lease {
                day,
                fence,
                session: None,
            }),
        })
    }

    async fn renew(&self, lease: Lease) -> Result<bool, LockError> {
        self.ours(RENEW, lease).await
    }

    async fn done(&self, lease: Lease) -> Result<bool, LockError> {
        self.ours(DONE, lease).await
    }

    async fn free(&self, lease: Lease) -> Result<(), LockError> {
        self.ours(FREE, lease).await.map(drop)
    }
}
