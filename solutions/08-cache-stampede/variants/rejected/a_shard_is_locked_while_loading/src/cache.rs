//! The cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dashmap::DashMap;

use crate::api::{CacheCfg, CacheError, CacheStats, Env, Origin};
use crate::early::should_refresh_early;
use crate::source::{Price, Source};

/// Prices, as they were when they were last loaded.
pub struct PriceCache {
    source: Source,
    env: Arc<dyn Env>,
    cfg: CacheCfg,
    entries: DashMap<String, Option<Price>>,
    hits: AtomicU64,
}

impl PriceCache {
    pub fn new(o: Arc<dyn Origin>, env: Arc<dyn Env>, cfg: CacheCfg) -> Self {
        PriceCache {
            source: Source::new(o, env.clone(), &cfg),
            env,
            cfg,
            entries: DashMap::new(),
            hits: AtomicU64::new(0),
        }
    }

    /// The price of `k`: the one that is held while it is fresh, and otherwise the origin's. The entry's lock sees to it
    /// that there is one load.
    pub async fn get(&self, k: &str) -> Result<Bytes, CacheError> {
        if self.entries.len() >= self.cfg.max_entries {
            self.entries.clear();
        }
        let mut entry = self.entries.entry(k.to_owned()).or_default();
        let now = self.env.now();
        let held = entry.clone();
        if let Some(price) = held.as_ref().filter(|price| now < price.expires) {
            let remaining = price.expires - now;
            if !should_refresh_early(remaining, price.delta, self.cfg.beta, self.env.unit()) {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Ok(price.value.clone());
            }
        }
        let loaded = self.source.price(k, held.as_ref(), false, || true).await;
        match (loaded, held) {
            (Ok(price), _) => {
                *entry = Some(price.clone());
                Ok(price.value)
            }
            (Err(_), Some(held)) if now < held.expires + self.cfg.stale_grace => Ok(held.value),
            (Err(error), _) => Err(error),
        }
    }

    /// Forgets the price of `k`: it has changed.
    pub fn invalidate(&self, k: &str) {
        self.entries.remove(k);
        if self.source.is_shared() {
            self.source.forget(k);
        }
    }

    pub fn stats(&self) -> CacheStats {
        CacheStats {
            entries: self.entries.len(),
            loading: self.source.loading(),
            loads: self.source.loads(),
            hits: self.hits.load(Ordering::Relaxed),
        }
    }
}
