//! A key for each day, under a lease that is kept alive, and another one when it is done.

use async_trait::async_trait;
use chrono::NaiveDate;

use super::{DayLock, Take, next_fence};
use crate::error::LockError;
use crate::ext::Etcd;
use crate::reporter::LockCfg;

pub struct EtcdDays {
    replica: String,
    cfg: LockCfg,
    etcd: Etcd,
}

impl EtcdDays {
    pub fn new(replica: String, url: &str, cfg: LockCfg) -> EtcdDays {
        EtcdDays {
            replica,
            cfg,
            etcd: Etcd::new(url),
        }
    }
}

fn key(day: NaiveDate) -> String {
    format!("report/{day}/lock")
}

fn done_key(day: NaiveDate) -> String {
    format!("report/{day}/done")
}

#[async_trait]
impl DayLock for EtcdDays {
    async fn take(&self, day: NaiveDate) -> Result<Take, LockError> {
        if self.etcd.get(&done_key(day)).await?.is_some() {
            return Ok(Take::Done);
        }
        let lease = self.etcd.grant(self.cfg.ttl).await?;
        if !self.etcd.put_new(&key(day), &self.replica, lease).await? {
            let held = self.etcd.get(&key(day)).await?;
            return Ok(Take::Held {
                by: held.map(|held| held.value).unwrap_or_default(),
            });
        }
        let (etcd, pause) = (self.etcd.clone(), self.cfg.renew_every);
        tokio::spawn(async move {
            while etcd.keep_alive(lease).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        });
        Ok(Take::Taken { fence: next_fence() })
    }

    async fn done(&self, day: NaiveDate) -> Result<(), LockError> {
        self.etcd.put(&done_key(day), &self.replica).await?;
        self.etcd.delete(&key(day)).await
    }
}
