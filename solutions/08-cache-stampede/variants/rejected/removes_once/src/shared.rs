//! The copies in Redis. Whatever goes wrong with it is no reason to refuse a price: then there is no copy.
//!
//! What is written for one key is written in order: at most one task per key writes, and does what was wished last.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Client, RedisResult};
use tokio::time::timeout;
use url::Url;

/// How long one connection or one command may take.
const PATIENCE: Duration = Duration::from_millis(900);
/// How long Redis is left alone after it has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// One command that tells a price and how long it is still to live.
const READ: &str = "return {redis.call('PTTL', KEYS[1]), redis.call('GET', KEYS[1])}";

pub(crate) struct Copy {
    pub(crate) id: u128,
    pub(crate) delta: Duration,
    pub(crate) value: Bytes,
    pub(crate) remaining: Duration,
}

pub(crate) struct Shared {
    client: Client,
    link: tokio::sync::Mutex<Link>,
    jobs: Mutex<HashMap<Arc<str>, Job>>,
}

#[derive(Default)]
struct Link {
    open: Option<MultiplexedConnection>,
    serial: u64,
    down_until: Option<Instant>,
}

/// What is still to be written for a key.
struct Job {
    revision: u64,
    /// Otherwise what is there is to be removed.
    put: Option<Put>,
}

#[derive(Clone)]
struct Put {
    payload: Bytes,
    until: Instant,
}

impl Shared {
    pub(crate) fn open(url: &Url) -> Option<Arc<Shared>> {
        Some(Arc::new(Shared {
            client: Client::open(url.clone()).ok()?,
            link: tokio::sync::Mutex::default(),
            jobs: Mutex::default(),
        }))
    }

    /// What is there for `k`, unless it is about to be replaced or removed.
    pub(crate) async fn read(self: &Arc<Self>, k: &Arc<str>) -> Option<Copy> {
        let (shared, k) = (self.clone(), k.clone());
        // A task of its own: callers who are not polled hold up nobody who wants a connection.
        tokio::spawn(async move { shared.read_now(&k).await }).await.ok()?
    }

    async fn read_now(&self, k: &str) -> Option<Copy> {
        if lock(&self.jobs).contains_key(k) {
            return None;
        }
        let (life, payload): (i64, Option<Vec<u8>>) = self
            .run(async |open| {
                let mut read = redis::cmd("EVAL");
                read.arg(READ).arg(1).arg(name(k)).query_async(open).await
            })
            .await?;
        let remaining = Duration::from_millis(u64::try_from(life).ok().filter(|life| *life > 0)?);
        unpack(k, payload?.into(), remaining)
    }

    /// Has the price of `k` put there, for as long as it has to live.
    pub(crate) fn put(self: &Arc<Self>, k: &Arc<str>, copy: &Copy) {
        let now = Instant::now();
        let put = Put {
            payload: pack(k, copy),
            until: later(now, copy.remaining),
        };
        self.write(k.clone(), Some(put));
    }

    /// Has the price of `k` removed.
    pub(crate) fn remove(self: &Arc<Self>, k: &str) {
        self.write(k.into(), None);
    }

    fn write(self: &Arc<Self>, k: Arc<str>, put: Option<Put>) {
        match lock(&self.jobs).entry(k.clone()) {
            Entry::Occupied(mut job) => {
                let job = job.get_mut();
                job.revision += 1;
                job.put = put;
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Job {
                    revision: 0,
                    put,
                });
                tokio::spawn(self.clone().work(k));
            }
        }
    }

    async fn work(self: Arc<Self>, k: Arc<str>) {
        while let Some((revision, put)) = self.wished(&k) {
            match put {
                Some(put) => self.set(&k, put).await,
                None => self.del(&k).await,
            };
            if self.finish(&k, revision) {
                return;
            }
        }
    }

    fn wished(&self, k: &str) -> Option<(u64, Option<Put>)> {
        let jobs = lock(&self.jobs);
        let job = jobs.get(k)?;
        Some((job.revision, job.put.clone()))
    }

    /// Whether nothing more is to be done for `k`.
    fn finish(&self, k: &str, revision: u64) -> bool {
        let mut jobs = lock(&self.jobs);
        let Some(job) = jobs.get(k) else {
            return true;
        };
        if job.revision != revision {
            return false;
        }
        jobs.remove(k);
        if jobs.capacity() > 64 && jobs.len() < jobs.capacity() / 4 {
            jobs.shrink_to_fit();
        }
        true
    }

    async fn set(&self, k: &str, put: Put) -> bool {
        let (serial, mut open) = match self.connection().await {
            Some(link) => link,
            None => return false,
        };
        let life = put.until.saturating_duration_since(Instant::now());
        let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX).min(1 << 50);
        if life == 0 {
            // It has expired; what is there is older still.
            return self.del(k).await;
        }
        let mut set = redis::cmd("SET");
        set.arg(name(k)).arg(&put.payload[..]).arg("PX").arg(life);
        let answer = timeout(PATIENCE, set.query_async::<String>(&mut open)).await;
        let done = matches!(answer, Ok(Ok(ok)) if ok == "OK");
        if !done {
            self.hang_up(serial).await;
        }
        done
    }

    async fn del(&self, k: &str) -> bool {
        self.run(async |open| redis::cmd("DEL").arg(name(k)).query_async::<i64>(open).await)
            .await
            .is_some()
    }

    async fn run<T>(
        &self,
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Option<T> {
        let (serial, mut open) = self.connection().await?;
        match timeout(PATIENCE, ask(&mut open)).await {
            Ok(Ok(answer)) => Some(answer),
            _ => {
                self.hang_up(serial).await;
                None
            }
        }
    }

    async fn connection(&self) -> Option<(u64, MultiplexedConnection)> {
        let mut link = self.link.lock().await;
        if let Some(open) = &link.open {
            return Some((link.serial, open.clone()));
        }
        if link.down_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        match timeout(PATIENCE, self.client.get_multiplexed_async_connection()).await {
            Ok(Ok(open)) => {
                link.serial += 1;
                link.open = Some(open.clone());
                Some((link.serial, open))
            }
            _ => {
                link.down_until = Some(Instant::now() + PAUSE);
                None
            }
        }
    }

    async fn hang_up(&self, serial: u64) {
        let mut link = self.link.lock().await;
        if link.serial == serial && link.open.take().is_some() {
            link.down_until = Some(Instant::now() + PAUSE);
        }
    }
}

/// Names a load, on whatever instance.
pub(crate) fn new_id() -> u128 {
    let [high, low] = [(); 2].map(|()| u128::from(RandomState::new().hash_one(Instant::now())));
    high << 64 | low
}

fn name(k: &str) -> String {
    format!("price:{k}")
}

/// The key is part of it: an answer to another question is none.
fn pack(k: &str, copy: &Copy) -> Bytes {
    let delta = u64::try_from(copy.delta.as_micros()).unwrap_or(u64::MAX);
    let mut payload = Vec::with_capacity(28 + k.len() + copy.value.len());
    payload.extend_from_slice(&copy.id.to_be_bytes());
    payload.extend_from_slice(&delta.to_be_bytes());
    payload.extend_from_slice(&(k.len() as u32).to_be_bytes());
    payload.extend_from_slice(k.as_bytes());
    payload.extend_from_slice(&copy.value);
    payload.into()
}

fn unpack(k: &str, payload: Bytes, remaining: Duration) -> Option<Copy> {
    let (id, rest) = payload.split_first_chunk()?;
    let (delta, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    if u32::from_be_bytes(*len) as usize != k.len() || !rest.starts_with(k.as_bytes()) {
        return None;
    }
    Some(Copy {
        id: u128::from_be_bytes(*id),
        delta: Duration::from_micros(u64::from_be_bytes(*delta)),
        value: payload.slice(28 + k.len()..),
        remaining,
    })
}

fn later(now: Instant, life: Duration) -> Instant {
    now + life.min(Duration::from_secs(1 << 30))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
