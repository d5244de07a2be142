use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::NaiveDate;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Days, Mine, Taken};
use crate::error::LockError;
use crate::ext::Etcd;

pub(super) struct UnderLease {
    etcd: Etcd,
    ttl: Duration,
}

/// Who has a day, and who has done it.
struct Known {
    owner: Option<String>,
    done: Option<String>,
}

fn owner_key(day: NaiveDate) -> String {
    format!("report/{day}/lock")
}

fn done_key(day: NaiveDate) -> String {
    format!("report/{day}/done")
}

fn text(value: &Value) -> Option<String> {
    let bytes = BASE64_STANDARD.decode(value.as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

impl UnderLease {
    pub(super) fn new(url: &str, ttl: Duration) -> UnderLease {
        UnderLease {
            etcd: Etcd::new(url),
            ttl,
        }
    }

    /// Both keys at once: they lie between `/` and what comes after it.
    async fn known(&self, day: NaiveDate) -> Result<Known, LockError> {
        let [from, to] = ['/', '0'].map(|end| BASE64_STANDARD.encode(format!("report/{day}{end}")));
        let found = self.etcd.call("kv/range", json!({ "key": from, "range_end": to })).await?;
        let kvs = found["kvs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let value = |key: String| {
            let kv = kvs.iter().find(|kv| text(&kv["key"]).is_some_and(|name| name == key))?;
            text(&kv["value"])
        };
        Ok(Known {
            owner: value(owner_key(day)),
            done: value(done_key(day)),
        })
    }

    fn still(mine: &Mine) -> Vec<Value> {
        vec![Etcd::made_at(&owner_key(mine.day), mine.count)]
    }

    fn ended(&self, lease: i64) {
        let etcd = self.etcd.clone();
        tokio::spawn(async move { etcd.revoke(lease).await });
    }
}

#[async_trait]
impl Days for UnderLease {
    async fn take(&self, day: NaiveDate, owner: &str) -> Result<Taken, LockError> {
        match self.known(day).await? {
            Known { done: Some(_), .. } => return Ok(Taken::Done),
            Known { owner: Some(other), .. } => return Ok(Taken::Other(other)),
            Known { .. } => {}
        }
        let asked = Instant::now();
        let lease = self.etcd.grant(self.ttl).await?;
        let nobody = vec![Etcd::made_at(&owner_key(day), 0), Etcd::made_at(&done_key(day), 0)];
        let put = vec![Etcd::putting(&owner_key(day), owner, lease)];
        let put = self.etcd.txn(nobody, put).await?;
        if put.succeeded {
            let mine = Mine {
                day,
                owner: owner.into(),
                count: put.revision,
                lease,
            };
            return Ok(Taken::Mine { mine, asked });
        }
        self.ended(lease);
        let known = self.known(day).await?;
        Ok(match known.done {
            Some(_) => Taken::Done,
            None => Taken::Other(known.owner.unwrap_or_default()),
        })
    }

    async fn beat(&self, days: &[Mine]) -> Vec<Option<bool>> {
        let mut beats = JoinSet::new();
        for (n, mine) in days.iter().enumerate() {
            let (etcd, lease) = (self.etcd.clone(), mine.lease);
            beats.spawn(async move { (n, etcd.keep_alive(lease).await.ok().map(|seconds| seconds > 0)) });
        }
        let mut heard = vec![None; days.len()];
        while let Some(beat) = beats.join_next().await {
            if let Ok((n, mine)) = beat {
                heard[n] = mine;
            }
        }
        heard
    }

    async fn done(&self, mine: &Mine) -> Result<bool, LockError> {
        let then = vec![
            Etcd::putting(&done_key(mine.day), &mine.owner, 0),
            Etcd::deleting(&owner_key(mine.day)),
        ];
        if self.etcd.txn(UnderLease::still(mine), then).await?.succeeded {
            self.ended(mine.lease);
            return Ok(true);
        }
        let known = self.known(mine.day).await?;
        Ok(known.done.is_some_and(|owner| *owner == *mine.owner))
    }

    async fn free(&self, mine: &Mine) -> Result<bool, LockError> {
        let then = vec![Etcd::deleting(&owner_key(mine.day))];
        if self.etcd.txn(UnderLease::still(mine), then).await?.succeeded {
            self.ended(mine.lease);
            return Ok(true);
        }
        let known = self.known(mine.day).await?;
        Ok(known.owner.is_none() && known.done.is_none())
    }
}
