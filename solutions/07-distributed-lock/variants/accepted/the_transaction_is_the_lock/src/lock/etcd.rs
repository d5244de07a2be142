//! A key for each day, under a lease that is kept alive, and another one when it is done.

use async_trait::async_trait;
use chrono::NaiveDate;

use super::{DayLock, Lease, Take};
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
        if let Some(held) = self.etcd.get(&key(day)).await? {
            return Ok(Take::Held { by: held.value });
        }
        let lease = self.etcd.grant(self.cfg.ttl).await?;
        // Neither taken nor done since we looked. The revision that makes the key is larger than any before it.
        let free = vec![Etcd::made_at(&key(day), 0), Etcd::made_at(&done_key(day), 0)];
        let put = vec![Etcd::putting(&key(day), &self.replica, lease)];
        let taken = self.etcd.txn(free, put).await?;
        if taken.succeeded {
            let fence = u64::try_from(taken.revision).unwrap_or(0);
            return Ok(Take::Taken(Lease {
                day,
                fence,
                id: lease,
                session: None,
            }));
        }
        self.etcd.revoke(lease).await?;
        Ok(Take::Held { by: String::new() })
    }

    async fn renew(&self, lease: Lease) -> Result<bool, LockError> {
        // A lease that is over is no error here: it just has no time any more.
        Ok(self.etcd.keep_alive(lease.id).await? > 0)
    }

    async fn done(&self, lease: Lease) -> Result<bool, LockError> {
        let fence = i64::try_from(lease.fence).unwrap_or(i64::MAX);
        let ours = vec![Etcd::made_at(&key(lease.day), fence)];
        let put = vec![Etcd::putting(&done_key(lease.day), &self.replica, 0)];
        let done = self.etcd.txn(ours, put).await?;
        if done.succeeded {
            self.etcd.revoke(lease.id).await.ok();
        }
        Ok(done.succeeded)
    }

    async fn free(&self, lease: Lease) -> Result<(), LockError> {
        self.etcd.revoke(lease.id).await
    }
}
