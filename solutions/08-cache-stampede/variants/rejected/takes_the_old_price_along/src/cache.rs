//! The cache.
//!
//! Loads are optimistic: one notes the version of its key when it begins, and keeps what it has got if nobody has
//! invalidated it in the meantime. Who waits is in a queue of the key's, in one of many halls. Errors are told to those
//! who wait, and not remembered.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::api::{CacheCfg, CacheError, CacheStats, Env, Origin, OriginError};
use crate::rack::{Price, Rack};
use crate::shared::{self, Shared};

type Answer = Result<Bytes, CacheError>;
type Queue = Vec<oneshot::Sender<Answer>>;
type Hall = HashMap<Arc<str>, Queue>;

const HALLS: usize = 128;

/// Prices, as they were when they were last loaded.
pub struct PriceCache {
    inner: Arc<Inner>,
}

struct Inner {
    origin: Arc<dyn Origin>,
    env: Arc<dyn Env>,
    cfg: CacheCfg,
    /// Locked after a hall, where both are.
    rack: RwLock<Rack>,
    /// The queues of keys that are being loaded.
    halls: Vec<Mutex<Hall>>,
    hasher: RandomState,
    shared: Option<Arc<Shared>>,
    loading: AtomicUsize,
    loads: AtomicU64,
    hits: AtomicU64,
}

/// What a load needs to know of what was held when it began.
struct Before {
    version: u64,
    id: Option<u128>,
    /// The price that was held, and until when it is as good as an error.
    stale: Option<(Bytes, Duration)>,
    is_renewal: bool,
}

enum Seen {
    Fresh(Bytes),
    /// Fresh, and this caller is to have it renewed.
    Ripe(Bytes, Before),
    Nothing(Before),
}

impl PriceCache {
    pub fn new(o: Arc<dyn Origin>, env: Arc<dyn Env>, cfg: CacheCfg) -> Self {
        let shared = cfg.shared.as_ref();
        let inner = Inner {
            origin: o,
            env,
            rack: RwLock::new(Rack::new(cfg.max_entries)),
            halls: (0..HALLS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            shared: shared.and_then(|url| Shared::open(url, cfg.ttl)),
            cfg,
            loading: AtomicUsize::new(0),
            loads: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        };
        PriceCache {
            inner: Arc::new(inner),
        }
    }

    /// The price of `k`: the one that is held while it is fresh, and otherwise the origin's.
    pub async fn get(&self, k: &str) -> Result<Bytes, CacheError> {
        let inner = &self.inner;
        let now = inner.env.now();
        match inner.look(k, now) {
            Seen::Fresh(value) => return Ok(value),
            Seen::Ripe(value, before) => {
                inner.renew(k, before);
                return Ok(value);
            }
            Seen::Nothing(_) => {}
        }
        let answer = match inner.queue(k, now) {
            Ok(value) => return Ok(value),
            Err(ticket) => ticket.await,
        };
        let crashed = || CacheError::Failed(format!("the load of {k} came to no end"));
        answer.unwrap_or_else(|_| inner.stale(k).ok_or_else(crashed))
    }

    /// Forgets the price of `k`: it has changed.
    pub fn invalidate(&self, k: &str) {
        let mut rack = self.inner.rack.write().unwrap_or_else(PoisonError::into_inner);
        rack.invalidate(k);
        // While nothing is kept, so that no older price is put there after this.
        if let Some(shared) = &self.inner.shared {
            shared.remove(k);
        }
    }

    pub fn stats(&self) -> CacheStats {
        let rack = self.inner.rack.read().unwrap_or_else(PoisonError::into_inner);
        CacheStats {
            entries: rack.len(),
            loading: self.inner.loading.load(Ordering::SeqCst),
            loads: self.inner.loads.load(Ordering::Relaxed),
            hits: self.inner.hits.load(Ordering::Relaxed),
        }
    }
}

impl Inner {
    fn look(&self, k: &str, now: Duration) -> Seen {
        let rack = self.rack.read().unwrap_or_else(PoisonError::into_inner);
        let mut before = Before {
            version: rack.version(k),
            id: None,
            stale: None,
            is_renewal: false,
        };
        let Some(price) = rack.get(k) else {
            return Seen::Nothing(before);
        };
        before.id = Some(price.id);
        let grace = price.expires.saturating_add(self.cfg.stale_grace);
        before.stale = Some((price.value.clone(), grace));
        if price.expires <= now {
            return Seen::Nothing(before);
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        let value = price.value.clone();
        let due = price.renewal.load(Ordering::Relaxed);
        if nanos(now) < due {
            return Seen::Fresh(value);
        }
        // If this renewal fails there is one more, in the last tenth; not a third.
        let last = nanos(price.expires.saturating_sub(self.cfg.ttl / 10));
        let next = if due < last { last.max(nanos(now) + 1) } else { u64::MAX };
        let relaxed = Ordering::Relaxed;
        if price.renewal.compare_exchange(due, next, relaxed, relaxed).is_err() {
            return Seen::Fresh(value);
        }
        before.is_renewal = true;
        Seen::Ripe(value, before)
    }

    fn renew(self: &Arc<Self>, k: &str, before: Before) {
        let mut hall = self.hall(k);
        if !hall.contains_key(k) {
            self.begin(&mut hall, k, before);
        }
    }

    /// A ticket for what the load of `k` will bring, unless it has just ended.
    fn queue(self: &Arc<Self>, k: &str, now: Duration) -> Result<Bytes, oneshot::Receiver<Answer>> {
        let (caller, ticket) = oneshot::channel();
        let mut hall = self.hall(k);
        if let Some(queue) = hall.get_mut(k) {
            queue.push(caller);
            return Err(ticket);
        }
        let before = match self.look(k, now) {
            Seen::Fresh(value) | Seen::Ripe(value, _) => return Ok(value),
            Seen::Nothing(before) => before,
        };
        self.begin(&mut hall, k, before).push(caller);
        Err(ticket)
    }

    fn begin<'a>(self: &Arc<Self>, hall: &'a mut Hall, k: &str, before: Before) -> &'a mut Queue {
        let k: Arc<str> = k.into();
        tokio::spawn(self.clone().load(k.clone(), before));
        hall.entry(k).or_default()
    }

    async fn load(self: Arc<Self>, k: Arc<str>, before: Before) {
        let mut crash = Crash(Some((&self, &k)));
        let brought = self.fetch(&k, &before).await;
        crash.0 = None;
        let (queue, answer) = self.end(&k, before, brought);
        for caller in queue {
            caller.send(answer.clone()).ok();
        }
    }

    /// The price, and whether it is the origin's.
    async fn fetch(&self, k: &Arc<str>, before: &Before) -> Result<(Price, bool), OriginError> {
        let ttl = self.cfg.ttl;
        if let Some(shared) = &self.shared {
            let asked = self.env.now();
            if let Some(copy) = shared.read(k).await {
                let remaining = copy.remaining.min(ttl);
                let expires = asked.saturating_add(remaining);
                let is_new = before.id != Some(copy.id);
                let will_do = !before.is_renewal || remaining > ttl / 2;
                if is_new && will_do && self.env.now() < expires {
                    self.hits.fetch_add(1, Ordering::Relaxed);
                    return Ok((self.price(copy.value, copy.id, expires), false));
                }
            }
        }
        let value = {
            let _loading = Loading::begin(self);
            self.origin.load(k).await?
        };
        let expires = self.env.now().saturating_add(ttl);
        Ok((self.price(value, shared::new_id(), expires), true))
    }

    /// It is to be renewed when between six and eight tenths of its life have passed; not all at once.
    fn price(&self, value: Bytes, id: u128, expires: Duration) -> Price {
        let ttl = self.cfg.ttl;
        let early = (ttl / 5).saturating_add((ttl / 5).mul_f64(self.env.unit()));
        Price {
            value,
            id,
            expires,
            renewal: AtomicU64::new(nanos(expires.saturating_sub(early))),
        }
    }

    fn end(
        &self,
        k: &Arc<str>,
        before: Before,
        brought: Result<(Price, bool), OriginError>,
    ) -> (Queue, Answer) {
        let now = self.env.now();
        let mut hall = self.hall(k);
        let answer = match brought {
            Ok((price, from_origin)) => {
                let value = price.value.clone();
                let mut rack = self.rack.write().unwrap_or_else(PoisonError::into_inner);
                if rack.version(k) == before.version {
                    if from_origin && let Some(shared) = &self.shared {
                        let copy = shared::Copy {
                            id: price.id,
                            delta: Duration::ZERO,
                            value: value.clone(),
                            remaining: price.expires.saturating_sub(now),
                        };
                        shared.put(k, &copy);
                    }
                    rack.put(k, price);
                }
                Ok(value)
            }
            Err(err) => match before.stale {
                Some((value, until)) if now < until => Ok(value),
                _ => Err(err.into()),
            },
        };
        (leave(&mut hall, k), answer)
    }

    /// What there is for `k` when its load has panicked.
    fn stale(&self, k: &str) -> Option<Bytes> {
        let now = self.env.now();
        let rack = self.rack.read().unwrap_or_else(PoisonError::into_inner);
        let price = rack.get(k)?;
        let end = price.expires.saturating_add(self.cfg.stale_grace);
        (now < end).then(|| price.value.clone())
    }

    fn hall(&self, k: &str) -> MutexGuard<'_, Hall> {
        let at = self.hasher.hash_one(k) as usize % HALLS;
        self.halls[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn leave(hall: &mut Hall, k: &str) -> Queue {
    let queue = hall.remove(k).unwrap_or_default();
    if hall.len() < hall.capacity() / 4 {
        hall.shrink_to(hall.len());
    }
    queue
}

/// A load that comes to no end of its own: who waits is told by the loss of their queue.
struct Crash<'a>(Option<(&'a Inner, &'a str)>);

impl Drop for Crash<'_> {
    fn drop(&mut self) {
        if let Some((inner, k)) = self.0 {
            let queue = leave(&mut inner.hall(k), k);
            drop(queue);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1)
}

struct Loading<'a>(&'a AtomicUsize);

impl<'a> Loading<'a> {
    fn begin(inner: &'a Inner) -> Self {
        inner.loads.fetch_add(1, Ordering::Relaxed);
        inner.loading.fetch_add(1, Ordering::SeqCst);
        Loading(&inner.loading)
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
