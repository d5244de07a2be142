//! Redlock: whoever has the key of a day at a majority of the servers has the day, for as long as all of them keep it.
//! What lasts is in PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use chrono::NaiveDate;
use redis::aio::ConnectionManager;
use redis::{ExistenceCheck, Script, SetExpiry, SetOptions};
use sqlx::PgPool;
use tokio::sync::OnceCell;
use tokio::time::Instant;

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
    servers: Vec<Server>,
    postgres: String,
    cfg: LockCfg,
    db: OnceCell<PgPool>,
}

struct Server {
    url: String,
    redis: OnceCell<ConnectionManager>,
}

impl Server {
    async fn redis(&self) -> Result<ConnectionManager, LockError> {
        let redis = self.redis.get_or_try_init(|| ext::redis(&self.url)).await?;
        Ok(redis.clone())
    }
}

/// What a majority of the servers came to.
enum Voted {
    Yes,
    No,
    /// Too few of them have answered.
    Unknown(LockError),
}

impl RedisDays {
    pub fn new(replica: String, urls: String, postgres: String, cfg: LockCfg) -> RedisDays {
        let servers = urls.split(',').map(|url| Server {
            url: url.to_owned(),
            redis: OnceCell::new(),
        });
        RedisDays {
            replica,
            servers: servers.collect(),
            postgres,
            cfg,
            db: OnceCell::new(),
        }
    }

    async fn db(&self) -> Result<&PgPool, LockError> {
        self.db
            .get_or_try_init(async || ext::postgres(&self.postgres))
            .await
    }

    fn token(&self, fence: u64) -> String {
        format!("{}#{fence}", self.replica)
    }

    fn ttl(&self) -> u64 {
        u64::try_from(self.cfg.ttl.as_millis()).unwrap_or(u64::MAX)
    }

    fn majority(&self) -> usize {
        self.servers.len() / 2 + 1
    }

    /// What the servers' answers come to.
    fn vote(&self, answers: Vec<Result<bool, LockError>>) -> Voted {
        let (mut yes, mut no, mut broken) = (0, 0, None);
        for answer in answers {
            match answer {
                Ok(true) => yes += 1,
                Ok(false) => no += 1,
                Err(error) => broken = Some(error),
            }
        }
        match broken {
            _ if yes >= self.majority() => Voted::Yes,
            Some(error) if no < self.majority() => Voted::Unknown(error),
            _ => Voted::No,
        }
    }

    async fn set(&self, lease: Lease) -> Voted {
        let mut answers = Vec::new();
        for server in &self.servers {
            answers.push(self.set_at(server, lease).await);
        }
        self.vote(answers)
    }

    async fn set_at(&self, server: &Server, lease: Lease) -> Result<bool, LockError> {
        let options = SetOptions::default()
            .conditional_set(ExistenceCheck::NX)
            .with_expiration(SetExpiry::PX(self.ttl()));
        let set: Option<String> = redis::cmd("SET")
            .arg(key(lease.day))
            .arg(self.token(lease.fence))
            .arg(options)
            .query_async(&mut server.redis().await?)
            .await
            .map_err(LockError::backend)?;
        Ok(set.is_some())
    }

    async fn run(&self, script: &str, lease: Lease) -> Voted {
        let mut answers = Vec::new();
        for server in &self.servers {
            answers.push(self.run_at(server, script, lease).await);
        }
        self.vote(answers)
    }

    async fn run_at(&self, server: &Server, script: &str, lease: Lease) -> Result<bool, LockError> {
        let said: i64 = Script::new(script)
            .key(key(lease.day))
            .arg(self.token(lease.fence))
            .arg(self.ttl())
            .invoke_async(&mut server.redis().await?)
            .await
            .map_err(LockError::backend)?;
        Ok(said == 1)
    }

    async fn holder(&self, day: NaiveDate) -> Result<Option<String>, LockError> {
        let mut found = None;
        for server in &self.servers {
            let held: Option<String> = redis::cmd("GET")
                .arg(key(day))
                .query_async(&mut server.redis().await?)
                .await
                .map_err(LockError::backend)?;
            found = found.or(held);
        }
        Ok(found.map(|token: String| token.split('#').next().unwrap_or_default().to_owned()))
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
        if let Some(by) = self.holder(day).await? {
            return Ok(Take::Held { by });
        }
        let (fence,): (i64,) = sqlx::query_as("SELECT nextval('redis_fences')")
            .fetch_one(self.db().await?)
            .await
            .map_err(LockError::backend)?;
        let fence = u64::try_from(fence).unwrap_or(0);
        let lease = Lease { day, fence, id: 0 };
        let asked = Instant::now();
        let voted = self.set(lease).await;
        // Clocks differ by a hundredth, says Redlock, and by what waking up takes.
        let drift = self.cfg.ttl / 100 + Duration::from_millis(2);
        let is_left = asked.elapsed() + drift < self.cfg.ttl;
        match voted {
            Voted::Yes if is_left => {}
            Voted::Yes | Voted::No => {
                self.run(FREE, lease).await;
                return Ok(Take::Held { by: String::new() });
            }
            Voted::Unknown(error) => {
                self.run(FREE, lease).await;
                return Err(error);
            }
        }
        // Only now: whoever had the day before has recorded what it did before it gave the day back.
        if self.is_done(day).await? {
            self.free(lease).await?;
            return Ok(Take::Done);
        }
        Ok(Take::Taken(lease))
    }

    async fn renew(&self, lease: Lease) -> Result<bool, LockError> {
        match self.run(RENEW, lease).await {
            Voted::Yes => Ok(true),
            Voted::No => Ok(false),
            Voted::Unknown(error) => Err(error),
        }
    }

    async fn done(&self, lease: Lease) -> Result<bool, LockError> {
        sqlx::query("INSERT INTO redis_days (day, fence) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(lease.day)
            .bind(i64::try_from(lease.fence).unwrap_or(i64::MAX))
            .execute(self.db().await?)
            .await
            .map_err(LockError::backend)?;
        self.run(FREE, lease).await;
        Ok(true)
    }

    async fn free(&self, lease: Lease) -> Result<(), LockError> {
        match self.run(FREE, lease).await {
            Voted::Yes | Voted::No => Ok(()),
            Voted::Unknown(error) => Err(error),
        }
    }
}
