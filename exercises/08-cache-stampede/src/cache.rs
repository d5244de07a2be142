//! The cache.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;

use crate::api::{CacheCfg, CacheError, CacheStats, Env, Origin, OriginError};
use crate::early::should_refresh_early;
use crate::shared::Shared;

/// Prices, as they were when they were last loaded.
pub struct PriceCache {
    origin: Arc<dyn Origin>,
    env: Arc<dyn Env>,
    cfg: CacheCfg,
    entries: Mutex<LruCache<String, Entry>>,
    failures: Mutex<HashMap<String, Failure>>,
    /// Who may fill an empty key.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Who may renew an expired price.
    renewing: tokio::sync::Mutex<()>,
    shared: Option<Shared>,
    loading: AtomicUsize,
    loads: AtomicU64,
    hits: AtomicU64,
}

#[derive(Clone)]
struct Entry {
    value: Bytes,
    expires: Duration,
    /// How long its load took.
    delta: Duration,
}

struct Failure {
    error: OriginError,
    until: Duration,
}

impl PriceCache {
    pub fn new(o: Arc<dyn Origin>, env: Arc<dyn Env>, cfg: CacheCfg) -> Self {
        let capacity = NonZeroUsize::new(cfg.max_entries).unwrap_or(NonZeroUsize::MIN);
        PriceCache {
            origin: o,
            env,
            shared: cfg.shared.as_ref().and_then(Shared::open),
            cfg,
            entries: Mutex::new(LruCache::new(capacity)),
            failures: Mutex::default(),
            turns: Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
            loading: AtomicUsize::new(0),
            loads: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        }
    }

    /// The price of `k`: the one that is held while it is fresh, and otherwise the origin's.
    pub async fn get(&self, k: &str) -> Result<Bytes, CacheError> {
        let now = self.env.now();
        let Some(entry) = self.find(k) else {
            return self.fill(k).await;
        };
        if entry.expires <= now {
            return self.renew(k).await;
        }
        let remaining = entry.expires - now;
        if should_refresh_early(remaining, entry.delta, self.cfg.beta, self.env.unit()) {
            return self.load(k).await;
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        Ok(entry.value)
    }

    /// Forgets the price of `k`: it has changed.
    pub fn invalidate(&self, k: &str) {
        lock(&self.entries).pop(k);
        lock(&self.failures).remove(k);
    }

    pub fn stats(&self) -> CacheStats {
        CacheStats {
            entries: lock(&self.entries).len(),
            loading: self.loading.load(Ordering::Relaxed),
            loads: self.loads.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
        }
    }

    fn find(&self, k: &str) -> Option<Entry> {
        lock(&self.entries).get(k).cloned()
    }

    /// Loads a price that is not held, one caller at a time.
    async fn fill(&self, k: &str) -> Result<Bytes, CacheError> {
        let turn = lock(&self.turns).entry(k.to_owned()).or_default().clone();
        let _turn = turn.lock().await;
        if let Some(failure) = lock(&self.failures).get(k)
            && self.env.now() < failure.until
        {
            return Err(failure.error.clone().into());
        }
        self.load(k).await
    }

    /// Loads a price that has expired. The first caller does it; the others find it done.
    async fn renew(&self, k: &str) -> Result<Bytes, CacheError> {
        let _renewing = self.renewing.lock().await;
        let Some(entry) = self.find(k) else {
            return self.load(k).await;
        };
        if self.env.now() < entry.expires {
            return Ok(entry.value);
        }
        match self.load(k).await {
            Err(_) if self.env.now() < entry.expires + self.cfg.stale_grace => Ok(entry.value),
            loaded => loaded,
        }
    }

    async fn load(&self, k: &str) -> Result<Bytes, CacheError> {
        let begun = self.env.now();
        if let Some(shared) = &self.shared
            && let Some(value) = shared.get(k).await
        {
            self.keep(k, &value, begun);
            return Ok(value);
        }
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.loading.fetch_add(1, Ordering::Relaxed);
        let loaded = self.origin.load(k).await;
        self.loading.fetch_sub(1, Ordering::Relaxed);
        match loaded {
            Ok(value) => {
                self.keep(k, &value, begun);
                if let Some(shared) = &self.shared {
                    shared.put(k, &value, self.cfg.ttl).await;
                }
                Ok(value)
            }
            Err(error) => {
                let until = self.env.now() + self.cfg.error_ttl;
                let failure = Failure {
                    error: error.clone(),
                    until,
                };
                lock(&self.failures).insert(k.to_owned(), failure);
                Err(error.into())
            }
        }
    }

    fn keep(&self, k: &str, value: &Bytes, begun: Duration) {
        let now = self.env.now();
        let entry = Entry {
            value: value.clone(),
            expires: now + self.cfg.ttl,
            delta: now - begun,
        };
        lock(&self.entries).put(k.to_owned(), entry);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
