use std::time::Duration;

use async_trait::async_trait;
use chrono::NaiveDate;
use tokio::time::Instant;

use super::{Attempt, BASE, Key, Locks, Who};
use crate::error::LockError;
use crate::ext::Etcd;
use crate::reporter::LockCfg;

pub(crate) struct EtcdLocks {
    etcd: Etcd,
    ttl: Duration,
}

struct EtcdKey {
    etcd: Etcd,
    name: String,
    /// That made the key.
    revision: i64,
    lease: i64,
}

impl EtcdLocks {
    pub(crate) fn new(url: &str, cfg: &LockCfg) -> EtcdLocks {
        EtcdLocks {
            etcd: Etcd::new(url),
            ttl: cfg.ttl,
        }
    }
}

#[async_trait]
impl Locks for EtcdLocks {
    async fn lock(&self, day: NaiveDate, who: &Who) -> Result<Attempt, LockError> {
        let (name, done) = (format!("report/{day}/lock"), format!("report/{day}/done"));
        let etcd = &self.etcd;
        if let Some(held) = etcd.get(&name).await? {
            return Ok(Attempt::Held(Who::parse(&held.value)));
        }
        let asked = Instant::now();
        let lease = etcd.grant(self.ttl).await?;
        // Days are done in the ledger; they were done here once.
        let free = vec![Etcd::made_at(&name, 0), Etcd::made_at(&done, 0)];
        let put = vec![Etcd::putting(&name, &who.text(), lease)];
        let committed = etcd.txn(free, put).await?;
        if committed.succeeded {
            let key = EtcdKey {
                etcd: etcd.clone(),
                name,
                revision: committed.revision,
                lease,
            };
            return Ok(Attempt::Locked {
                key: Box::new(key),
                fence: BASE + committed.revision,
                asked,
            });
        }
        if let Some(held) = etcd.get(&name).await? {
            let _ = etcd.revoke(lease).await;
            return Ok(Attempt::Held(Who::parse(&held.value)));
        }
        let done = etcd.get(&done).await?;
        Ok(done.map_or_else(|| Attempt::Held(Who::unknown()), |_| Attempt::Done))
    }
}

#[async_trait]
impl Key for EtcdKey {
    async fn renew(&self) -> Result<bool, LockError> {
        Ok(self.etcd.keep_alive(self.lease).await? > 0)
    }

    async fn unlock(&self) -> Result<bool, LockError> {
        let mine = vec![Etcd::made_at(&self.name, self.revision)];
        let gone = vec![Etcd::deleting(&self.name)];
        if self.etcd.txn(mine, gone).await?.succeeded {
            let _ = self.etcd.revoke(self.lease).await;
            return Ok(true);
        }
        Ok(self.etcd.get(&self.name).await?.is_none())
    }
}
