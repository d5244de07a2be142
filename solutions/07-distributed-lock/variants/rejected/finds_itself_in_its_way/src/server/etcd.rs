//! A key under a lease, and one that lasts. Transactions read in their other branch what stood in their way.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::NaiveDate;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{FROM, Seat, Take};
use crate::error::LockError;
use crate::ext;

pub struct Etcd {
    client: ext::Etcd,
    ttl: Duration,
}

/// What a transaction came to.
enum Txn {
    /// At this revision.
    Done(i64),
    /// Who has the day, and who has done it.
    Not(Option<String>, Option<String>),
}

fn seat_key(day: NaiveDate) -> String {
    format!("report/{day}/lock")
}

fn done_key(day: NaiveDate) -> String {
    format!("report/{day}/done")
}

impl Etcd {
    pub(super) fn new(url: &str, ttl: Duration) -> Etcd {
        Etcd {
            client: ext::Etcd::new(url),
            ttl,
        }
    }

    async fn txn(&self, day: NaiveDate, compare: Vec<Value>, then: Vec<Value>) -> Result<Txn, LockError> {
        let range = |key: String| json!({ "request_range": { "key": BASE64_STANDARD.encode(key) } });
        let otherwise = [range(seat_key(day)), range(done_key(day))];
        let txn = json!({ "compare": compare, "success": then, "failure": otherwise });
        let answer = self.client.call("kv/txn", txn).await?;
        if answer["succeeded"].as_bool().unwrap_or(false) {
            let revision = answer["header"]["revision"].as_str().unwrap_or_default();
            return Ok(Txn::Done(revision.parse().map_err(LockError::backend)?));
        }
        let value = |n: usize| {
            let value = answer["responses"][n]["response_range"]["kvs"][0]["value"].as_str()?;
            let value = BASE64_STANDARD.decode(value).ok()?;
            Some(String::from_utf8_lossy(&value).into_owned())
        };
        Ok(Txn::Not(value(0), value(1)))
    }

    fn mine(seat: &Seat) -> Vec<Value> {
        let revision = i64::try_from(seat.fence - FROM).unwrap_or(i64::MAX);
        vec![ext::Etcd::made_at(&seat_key(seat.day), revision)]
    }

    pub(super) async fn take(&self, day: NaiveDate, run: &str) -> Result<Take, LockError> {
        let asked = Instant::now();
        let lease = self.client.grant(self.ttl).await?;
        let free = [seat_key(day), done_key(day)].map(|key| ext::Etcd::made_at(&key, 0));
        let put = vec![ext::Etcd::putting(&seat_key(day), run, lease)];
        let other = match self.txn(day, free.to_vec(), put).await? {
            Txn::Done(revision) => {
                return Ok(Take::Taken(Seat {
                    day,
                    run: run.to_owned(),
                    fence: FROM + u64::try_from(revision).map_err(LockError::backend)?,
                    lease,
                    asked,
                }));
            }
            Txn::Not(_, Some(_)) => Take::Done,
            Txn::Not(holder, None) => Take::Held(holder.unwrap_or_default()),
        };
        self.end(lease);
        Ok(other)
    }

    /// A lease that nothing depends on any more. Ends by itself, too.
    fn end(&self, lease: i64) {
        let client = self.client.clone();
        tokio::spawn(async move { client.revoke(lease).await });
    }

    pub(super) async fn renew(&self, seat: &Seat) -> Result<bool, LockError> {
        Ok(self.client.keep_alive(seat.lease).await? > 0)
    }

    pub(super) async fn finish(&self, seat: &Seat) -> Result<bool, LockError> {
        let then = vec![
            ext::Etcd::putting(&done_key(seat.day), &seat.run, 0),
            ext::Etcd::deleting(&seat_key(seat.day)),
        ];
        let finished = match self.txn(seat.day, Etcd::mine(seat), then).await? {
            Txn::Done(_) => true,
            Txn::Not(_, done) => done.is_some_and(|done| done == seat.run),
        };
        self.end(seat.lease);
        Ok(finished)
    }

    pub(super) async fn leave(&self, seat: &Seat) -> Result<bool, LockError> {
        let then = vec![ext::Etcd::deleting(&seat_key(seat.day))];
        let free = match self.txn(seat.day, Etcd::mine(seat), then).await? {
            Txn::Done(_) => true,
            Txn::Not(holder, done) => holder.is_none() && done.is_none(),
        };
        self.end(seat.lease);
        Ok(free)
    }
}
