use async_trait::async_trait;
use chrono::NaiveDate;
use redis::aio::ConnectionManager;
use redis::{FromRedisValue, ToRedisArgs};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{Attempt, BASE, Key, Locks, Who, within};
use crate::error::LockError;
use crate::ext;
use crate::reporter::LockCfg;

/// The number of the taking, or who has the day.
const LOCK: &str = r"
local holder = redis.call('get', KEYS[1])
if holder then
  return {0, holder}
end
local taking = redis.call('incr', KEYS[2])
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
return {taking, ''}
";

const RENEW: &str = r"
if redis.call('get', KEYS[1]) == ARGV[1] then
  return redis.call('pexpire', KEYS[1], ARGV[2])
end
return 0
";

/// Free, or another one's.
const UNLOCK: &str = r"
local holder = redis.call('get', KEYS[1])
if holder == ARGV[1] then
  redis.call('del', KEYS[1])
  return 1
end
if holder then
  return 0
end
return 1
";

pub(crate) struct RedisLocks {
    url: String,
    ttl: u64,
    redis: OnceCell<ConnectionManager>,
}

struct RedisKey {
    redis: ConnectionManager,
    day: NaiveDate,
    holder: String,
    ttl: u64,
}

impl RedisLocks {
    pub(crate) fn new(url: String, cfg: &LockCfg) -> RedisLocks {
        RedisLocks {
            url,
            ttl: u64::try_from(cfg.ttl.as_millis()).unwrap_or(u64::MAX),
            redis: OnceCell::new(),
        }
    }
}

/// Under new names: of the old keys, some never end.
async fn eval<T: FromRedisValue>(
    mut redis: ConnectionManager,
    script: &str,
    day: NaiveDate,
    args: (&str, impl ToRedisArgs),
) -> Result<T, LockError> {
    let mut eval = redis::cmd("EVAL");
    eval.arg(script).arg(2);
    eval.arg(format!("reporter:{day}:holder")).arg(format!("reporter:{day}:takings"));
    eval.arg(args.0).arg(args.1);
    within(eval.query_async(&mut redis)).await
}

#[async_trait]
impl Locks for RedisLocks {
    async fn lock(&self, day: NaiveDate, who: &Who) -> Result<Attempt, LockError> {
        let redis = self.redis.get_or_try_init(|| ext::redis(&self.url)).await?;
        let holder = who.text();
        let asked = Instant::now();
        let (taking, other): (i64, String) = eval(redis.clone(), LOCK, day, (&holder, self.ttl)).await?;
        if taking == 0 {
            return Ok(Attempt::Held(Who::parse(&other)));
        }
        let key = RedisKey {
            redis: redis.clone(),
            day,
            holder,
            ttl: self.ttl,
        };
        Ok(Attempt::Locked {
            key: Box::new(key),
            fence: BASE + taking,
            asked,
        })
    }
}

#[async_trait]
impl Key for RedisKey {
    async fn renew(&self) -> Result<bool, LockError> {
        eval(self.redis.clone(), RENEW, self.day, (&self.holder, self.ttl)).await
    }

    async fn unlock(&self) -> Result<bool, LockError> {
        eval(self.redis.clone(), UNLOCK, self.day, (&self.holder, "")).await
    }
}
