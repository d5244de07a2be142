//! A folder for each day. Whoever reaches for the day puts a numbered node into it, which ends with the session that made
//! it; the lowest number has the day. Another node says that it is done.

use async_trait::async_trait;
use chrono::NaiveDate;
use zookeeper_client::{Acls, Client, CreateMode, Error, MultiWriteError};

use super::{DayLock, Lease, Take};
use crate::error::LockError;
use crate::reporter::LockCfg;

const DONE: &str = "done";
const LOCK: &str = "lock-";

pub struct ZooKeeperDays {
    replica: String,
    servers: String,
    cfg: LockCfg,
}

/// A session of one run's own: what is not renewed by its signs of life is gone after `ttl`, and a run that is dropped
/// drops it.
#[derive(Clone, Debug)]
pub struct Session {
    client: Client,
    node: String,
}

fn folder(day: NaiveDate) -> String {
    format!("/report/{day}")
}

impl ZooKeeperDays {
    pub fn new(replica: String, servers: String, cfg: LockCfg) -> ZooKeeperDays {
        ZooKeeperDays {
            replica,
            servers,
            cfg,
        }
    }

    /// What stands in the way of a day: its end, or whoever comes before `ours`.
    async fn before(&self, client: &Client, day: NaiveDate, ours: &str) -> Result<Option<Take>, LockError> {
        let there = match client.list_children(&folder(day)).await {
            Ok(there) => there,
            Err(Error::NoNode) => return Ok(None),
            Err(error) => return Err(LockError::backend(error)),
        };
        if there.iter().any(|name| name == DONE) {
            return Ok(Some(Take::Done));
        }
        let first = there.iter().filter(|name| name.starts_with(LOCK)).min();
        let Some(first) = first.filter(|first| *first != ours) else {
            return Ok(None);
        };
        let by = match client.get_data(&format!("{}/{first}", folder(day))).await {
            Ok((name, _)) => String::from_utf8_lossy(&name).into_owned(),
            Err(Error::NoNode) => String::new(),
            Err(error) => return Err(LockError::backend(error)),
        };
        Ok(Some(Take::Held { by }))
    }

    async fn reach(&self, client: &Client, day: NaiveDate) -> Result<(String, u64), Error> {
        let lock = format!("{}/{LOCK}", folder(day));
        let numbered = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
        let mut made = client.create(&lock, self.replica.as_bytes(), &numbered).await;
        if let Err(Error::NoNode) = made {
            let lasting = CreateMode::Persistent.with_acls(Acls::anyone_all());
            client.mkdir(&folder(day), &lasting).await?;
            made = client.create(&lock, self.replica.as_bytes(), &numbered).await;
        }
        let (_, number) = made?;
        // The node ends with its session, so that no two replicas have the day.
        Ok((format!("{LOCK}{number}"), 1))
    }
}

fn session(lease: &Lease) -> Result<&Session, LockError> {
    let session = lease.session.as_ref();
    session.ok_or_else(|| LockError::backend("a lease of another server's"))
}

#[async_trait]
impl DayLock for ZooKeeperDays {
    async fn take(&self, day: NaiveDate) -> Result<Take, LockError> {
        let connector = Client::connector().with_session_timeout(self.cfg.ttl);
        let client = connector
            .connect(&self.servers)
            .await
            .map_err(LockError::backend)?;
        if let Some(take) = self.before(&client, day, "").await? {
            return Ok(take);
        }
        let (ours, fence) = self.reach(&client, day).await.map_err(LockError::backend)?;
        // Neither taken nor done before our node was there: only now that says anything.
        if let Some(take) = self.before(&client, day, &ours).await? {
            return Ok(take);
        }
        let node = format!("{}/{ours}", folder(day));
        let session = Some(Session { client, node });
        Ok(Take::Taken(Lease { day, fence, session }))
    }

    async fn renew(&self, lease: Lease) -> Result<bool, LockError> {
        let session = session(&lease)?;
        match session.client.check_stat(&session.node).await {
            Ok(there) => Ok(there.is_some()),
            Err(Error::SessionExpired) => Ok(false),
            Err(error) => Err(LockError::backend(error)),
        }
    }

    async fn done(&self, lease: Lease) -> Result<bool, LockError> {
        let session = session(&lease)?;
        let done = format!("{}/{DONE}", folder(lease.day));
        let lasting = CreateMode::Persistent.with_acls(Acls::anyone_all());
        let mut both = session.client.new_multi_writer();
        both.add_delete(&session.node, None).map_err(LockError::backend)?;
        both.add_create(&done, self.replica.as_bytes(), &lasting)
            .map_err(LockError::backend)?;
        match both.commit().await {
            Ok(_) => Ok(true),
            Err(MultiWriteError::OperationFailed { .. }) => Ok(false),
            Err(MultiWriteError::RequestFailed {
                source: Error::SessionExpired,
            }) => Ok(false),
            Err(error) => Err(LockError::backend(error)),
        }
    }

    async fn free(&self, lease: Lease) -> Result<(), LockError> {
        let session = session(&lease)?;
        match session.client.delete(&session.node, None).await {
            Ok(()) | Err(Error::NoNode | Error::SessionExpired) => Ok(()),
            Err(error) => Err(LockError::backend(error)),
        }
    }
}
