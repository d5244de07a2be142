//! The server that knows who has a day.

mod etcd;
mod postgres;
mod redis;

use std::fmt::Display;
use std::time::Duration;

use chrono::NaiveDate;
use tokio::time::{Instant, timeout};

use crate::error::LockError;
use crate::reporter::{Backend, Deps, LockCfg};

/// Fences are the servers' counts from here on: they were the microseconds since 1970.
const FROM: u64 = 4_000_000_000_000_000;

pub enum Server {
    Postgres(postgres::Postgres),
    Redis(redis::Redis),
    Etcd(etcd::Etcd),
}

/// A taking of a day.
#[derive(Clone, Debug)]
pub struct Seat {
    pub day: NaiveDate,
    /// Replica, process and run; no other taking has it.
    pub run: String,
    pub fence: u64,
    lease: i64,
    /// When the question was sent that the day was had for.
    pub asked: Instant,
}

pub enum Take {
    Taken(Seat),
    /// The run that has it.
    Held(String),
    Done,
}

/// Does the same with whichever it is.
macro_rules! each {
    ($server:expr, $one:ident => $ask:expr) => {
        match $server {
            Server::Postgres($one) => $ask,
            Server::Redis($one) => $ask,
            Server::Etcd($one) => $ask,
        }
    };
}

impl Server {
    pub fn new(deps: &Deps, cfg: &LockCfg) -> Server {
        match cfg.backend {
            Backend::PgOnce => Server::Postgres(postgres::Postgres::new(&deps.postgres, cfg.ttl)),
            Backend::RedisLease => Server::Redis(redis::Redis::new(&deps.redis, cfg.ttl)),
            Backend::EtcdLease => Server::Etcd(etcd::Etcd::new(&deps.etcd, cfg.ttl)),
        }
    }

    pub async fn take(&self, day: NaiveDate, run: &str) -> Result<Take, LockError> {
        each!(self, server => server.take(day, run).await)
    }

    /// Whether the day is still had.
    pub async fn renew(&self, seat: &Seat) -> Result<bool, LockError> {
        each!(self, server => server.renew(seat).await)
    }

    /// Whether it is on record that this taking's report is published. May be repeated.
    pub async fn finish(&self, seat: &Seat) -> Result<bool, LockError> {
        each!(self, server => server.finish(seat).await)
    }

    /// Whether the day is free. May be repeated.
    pub async fn leave(&self, seat: &Seat) -> Result<bool, LockError> {
        each!(self, server => server.leave(seat).await)
    }
}

/// Nobody tells that a network is cut.
async fn in_time<T, E: Display>(answer: impl Future<Output = Result<T, E>>) -> Result<T, LockError> {
    match timeout(Duration::from_secs(2), answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(LockError::backend(error)),
        Err(late) => Err(LockError::backend(late)),
    }
}
