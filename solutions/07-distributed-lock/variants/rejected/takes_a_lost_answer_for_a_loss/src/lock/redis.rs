//! Three keys for each day: who has it, with a time to live; how often it was taken; and that it is done.
//!
//! The names are new: the old keys may have no time to live.

use async_trait::async_trait;
use chrono::NaiveDate;
use redis::FromRedisValue;
use redis::aio::ConnectionManager;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{DayLock, FENCES_FROM, Grip, Take, answer};
use crate::error::LockError;
use crate::ext;
use crate::reporter::LockCfg;

// KEYS: lease, count, done. ARGV: token, then as told.

/// ARGV[2]: milliseconds.
const TAKE: &str = "
    if redis.call('EXISTS', KEYS[3]) == 1 then return {'done', ''} end
    local holder = redis.call('GET', KEYS[1])
    if holder then return {'held', holder} end
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return {'taken', tostring(redis.call('INCR', KEYS[2]))}";

/// ARGV[2]: milliseconds.
const RENEW: &str = "
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

/// ARGV[2]: the count. While it is this run's, nobody else has had the day.
const DONE: &str = "
    if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
    redis.call('SET', KEYS[3], ARGV[1])
    redis.call('DEL', KEYS[1])
    return 1";

/// ARGV[2]: the count.
const RELEASE: &str = "
    if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
    redis.call('DEL', KEYS[1])
    return 1";

pub struct RedisDays {
    url: String,
    ttl: String,
    redis: OnceCell<ConnectionManager>,
}

impl RedisDays {
    pub fn new(url: String, cfg: &LockCfg) -> RedisDays {
        RedisDays {
            url,
            ttl: cfg.ttl.as_millis().to_string(),
            redis: OnceCell::new(),
        }
    }

    async fn redis(&self) -> Result<ConnectionManager, LockError> {
        let redis = self.redis.get_or_try_init(|| ext::redis(&self.url)).await?;
        Ok(redis.clone())
    }

    async fn eval<T: FromRedisValue>(
        &self,
        script: &str,
        day: NaiveDate,
        token: &str,
        more: &str,
    ) -> Result<T, LockError> {
        let mut redis = self.redis().await?;
        let mut eval = redis::cmd("EVAL");
        eval.arg(script).arg(3);
        for key in ["lease", "count", "done"] {
            eval.arg(format!("report:{day}:{key}"));
        }
        eval.arg(token).arg(more);
        answer(eval.query_async(&mut redis)).await
    }

    async fn as_holder(&self, script: &str, grip: &Grip) -> Result<bool, LockError> {
        let count = (grip.fence - FENCES_FROM).to_string();
        self.eval(script, grip.day, &grip.token, &count).await
    }
}

#[async_trait]
impl DayLock for RedisDays {
    async fn take(&self, day: NaiveDate, token: &str) -> Result<Take, LockError> {
        // Connecting takes time that is not the lease's.
        self.redis().await?;
        let asked = Instant::now();
        let (what, value): (String, String) = self.eval(TAKE, day, token, &self.ttl).await?;
        Ok(match what.as_str() {
            "done" => Take::Done,
            "held" => Take::Held(value),
            _ => Take::Taken(Grip {
                day,
                token: token.to_owned(),
                fence: FENCES_FROM + value.parse::<u64>().map_err(LockError::backend)?,
                lease: 0,
                asked,
            }),
        })
    }

    async fn renew(&self, grip: &Grip) -> Result<bool, LockError> {
        self.eval(RENEW, grip.day, &grip.token, &self.ttl).await
    }

    async fn done(&self, grip: &Grip) -> Result<bool, LockError> {
        self.as_holder(DONE, grip).await
    }

    async fn release(&self, grip: &Grip) -> Result<bool, LockError> {
        self.as_holder(RELEASE, grip).await
    }
}
