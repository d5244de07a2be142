//! A key for each day, under a lease that is kept alive, and another one when it is done. The revision that made the
//! first one is its fence.

use std::time::Duration;

use async_trait::async_trait;
use chrono::NaiveDate;
use tokio::time::Instant;

use super::{DayLock, FENCES_FROM, Grip, Take};
use crate::error::LockError;
use crate::ext::Etcd;
use crate::reporter::LockCfg;

pub struct EtcdDays {
    ttl: Duration,
    etcd: Etcd,
}

impl EtcdDays {
    pub fn new(url: &str, cfg: &LockCfg) -> EtcdDays {
        EtcdDays {
            ttl: cfg.ttl,
            etcd: Etcd::new(url),
        }
    }

    async fn is_done(&self, day: NaiveDate) -> Result<bool, LockError> {
        Ok(self.etcd.get(&done_key(day)).await?.is_some())
    }
}

fn key(day: NaiveDate) -> String {
    format!("report/{day}/lock")
}

fn done_key(day: NaiveDate) -> String {
    format!("report/{day}/done")
}

fn revision(grip: &Grip) -> i64 {
    i64::try_from(grip.fence - FENCES_FROM).unwrap_or(i64::MAX)
}

#[async_trait]
impl DayLock for EtcdDays {
    async fn take(&self, day: NaiveDate, token: &str) -> Result<Take, LockError> {
        if self.is_done(day).await? {
            return Ok(Take::Done);
        }
        if let Some(held) = self.etcd.get(&key(day)).await? {
            return Ok(Take::Held(held.value));
        }
        let asked = Instant::now();
        let lease = self.etcd.grant(self.ttl).await?;
        let free = vec![Etcd::made_at(&key(day), 0), Etcd::made_at(&done_key(day), 0)];
        let put = vec![Etcd::putting(&key(day), token, lease)];
        let taken = self.etcd.txn(free, put).await?;
        if taken.succeeded {
            return Ok(Take::Taken(Grip {
                day,
                token: token.to_owned(),
                fence: FENCES_FROM + u64::try_from(taken.revision).map_err(LockError::backend)?,
                lease,
                asked,
            }));
        }
        if let Some(held) = self.etcd.get(&key(day)).await? {
            // Otherwise it ends by itself.
            let _ = self.etcd.revoke(lease).await;
            return Ok(Take::Held(held.value));
        }
        match self.is_done(day).await? {
            true => Ok(Take::Done),
            // It has just been let go.
            false => Ok(Take::Held(String::new())),
        }
    }

    async fn renew(&self, grip: &Grip) -> Result<bool, LockError> {
        Ok(self.etcd.keep_alive(grip.lease).await? > 0)
    }

    async fn done(&self, grip: &Grip) -> Result<bool, LockError> {
        let mine = vec![Etcd::made_at(&key(grip.day), revision(grip))];
        let done = vec![
            Etcd::putting(&done_key(grip.day), &grip.token, 0),
            Etcd::deleting(&key(grip.day)),
        ];
        if self.etcd.txn(mine, done).await?.succeeded {
            // What is on record does not wait for this.
            let (etcd, lease) = (self.etcd.clone(), grip.lease);
            tokio::spawn(async move { etcd.revoke(lease).await });
            return Ok(true);
        }
        Ok(false)
    }

    async fn release(&self, grip: &Grip) -> Result<bool, LockError> {
        let mine = vec![Etcd::made_at(&key(grip.day), revision(grip))];
        let free = vec![Etcd::deleting(&key(grip.day))];
        if self.etcd.txn(mine, free).await?.succeeded {
            let _ = self.etcd.revoke(grip.lease).await;
            return Ok(true);
        }
        // It may be a repetition, or over by itself.
        Ok(self.etcd.get(&key(grip.day)).await?.is_none() && !self.is_done(grip.day).await?)
    }
}
