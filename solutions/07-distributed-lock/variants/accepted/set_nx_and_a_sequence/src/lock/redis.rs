//! A key for each day that is being worked on; what lasts is in PostgreSQL.

use async_trait::async_trait;
use chrono::NaiveDate;
use redis::aio::ConnectionManager;
use redis::{ExistenceCheck, Script, SetExpiry, SetOptions};
use sqlx::PgPool;
use tokio::sync::OnceCell;

use super::{DayLock, Lease, Take};
use crate::error::LockError;
use crate::ext;
use crate::reporter::LockCfg;

const RENEW: &str = "
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

const FREE: &str = "
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    return redis.call('DEL', KEYS[1])";

pub struct RedisDays {
    replica: String,
    url: String,
    postgres: String,
    cfg: LockCfg,
    redis: OnceCell<ConnectionManager>,
    db: OnceCell<PgPool>,
}

impl RedisDays {
    pub fn new(replica: String, url: String, postgres: String, cfg: LockCfg) -> RedisDays {
        RedisDays {
            replica,
            url,
            postgres,
            cfg,
            redis: OnceCell::new(),
            db: OnceCell::new(),
        }
    }

    async fn redis(&self) -> Result<ConnectionManager, LockError> {
        let redis = self.redis.get_or_try_init(|| ext::redis(&self.url)).await?;
        Ok(redis.clone())
    }

    async fn db(&self) -> Result<&PgPool, LockError> {
        self.db.get_or_try_init(async || ext::postgres(&self.postgres)).await
    }

    fn token(&self, fence: u64) -> String {
        format!("{}#{fence}", self.replica)
    }

    fn ttl(&self) -> u64 {
        u64::try_from(self.cfg.ttl.as_millis()).unwrap_or(u64::MAX)
    }

    async fn ours(&self, script: &str, lease: &Lease) -> Result<bool, LockError> {
        let said: i64 = Script::new(script)
            .key(key(lease.day))
            .arg(self.token(lease.fence))
            .arg(self.ttl())
            .invoke_async(&mut self.redis().await?)
            .await
            .map_err(LockError::backend)?;
        Ok(said == 1)
    }

    async fn is_done(&self, day: NaiveDate) -> Result<bool, LockError> {
        let (done,): (bool,) = sqlx::query_as("SELECT EXISTS (SELECT FROM redis_days WHERE day = $1)")
            .bind(day)
            .fetch_one(self.db().await?)
            .await
            .map_err(LockError::backend)?;
        Ok(done)
    }
}

fn key(day: NaiveDate) -> String {
    format!("lock:report:{day}")
}

#[async_trait]
impl DayLock for RedisDays {
    async fn take(&self, day: NaiveDate) -> Result<Take, LockError> {
        let mut redis = self.redis().await?;
        let held: Option<String> = redis::cmd("GET")
            .arg(key(day))
            .query_async(&mut redis)
            .await
            .map_err(LockError::backend)?;
        if let Some(by) = held {
            return Ok(Take::Held {
                by: by.split('#').next().unwrap_or_default().to_owned(),
            });
        }
        let (fence,): (i64,) = sqlx::query_as("SELECT nextval('redis_fences')")
            .fetch_one(self.db().await?)
            .await
            .map_err(LockError::backend)?;
        let fence = u64::try_from(fence).unwrap_or(0);
        let options = SetOptions::default()
            .conditional_set(ExistenceCheck::NX)
            .with_expiration(SetExpiry::PX(self.ttl()));
        let set: Option<String> = redis::cmd("SET")
            .arg(key(day))
            .arg(self.token(fence))
            .arg(options)
            .query_async(&mut redis)
            .await
            .map_err(LockError::backend)?;
        if set.is_none() {
            return Ok(Take::Held { by: String::new() });
        }
        let lease = Lease { day, fence, id: 0 };
        // Only now: whoever had the day before has recorded what it did before it gave the day back.
        if self.is_done(day).await? {
            self.free(lease).await?;
            return Ok(Take::Done);
        }
        Ok(Take::Taken(lease))
    }

    async fn renew(&self, lease: Lease) -> Result<bool, LockError> {
        self.ours(RENEW, &lease).await
    }

    async fn done(&self, lease: Lease) -> Result<bool, LockError> {
        sqlx::query("INSERT INTO redis_days (day, fence) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(lease.day)
            .bind(i64::try_from(lease.fence).unwrap_or(i64::MAX))
            .execute(self.db().await?)
            .await
            .map_err(LockError::backend)?;
        self.ours(FREE, &lease).await.ok();
        Ok(true)
    }

    async fn free(&self, lease: Lease) -> Result<(), LockError> {
        self.ours(FREE, &lease).await.map(drop)
    }
}
