//! The cache.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::future::Cache;

use crate::api::{CacheCfg, CacheError, CacheStats, Env, Origin};
use crate::early::should_refresh_early;
use crate::source::{Price, Source};

/// Generations of keys; keys that share one are invalidated together.
const GENERATIONS: usize = 4096;

/// Prices, as they were when they were last loaded.
pub struct PriceCache(Arc<Core>);

struct Core {
    source: Source,
    env: Arc<dyn Env>,
    cfg: CacheCfg,
    /// By generation and key, so that what began before an invalidation ends where nobody looks.
    prices: Cache<String, Price>,
    failures: Cache<String, (CacheError, Duration)>,
    /// Brings those together who load the same price. What it holds is held for no longer than it takes to look.
    loads: Cache<String, Bytes>,
    generations: Vec<AtomicU64>,
    hits: AtomicU64,
}

impl PriceCache {
    pub fn new(o: Arc<dyn Origin>, env: Arc<dyn Env>, cfg: CacheCfg) -> Self {
        let held = (cfg.max_entries as u64).div_ceil(2);
        let life = (cfg.ttl + cfg.stale_grace).min(Duration::from_secs(86_400 * 365));
        PriceCache(Arc::new(Core {
            source: Source::new(o, env.clone(), &cfg),
            env,
            prices: Cache::builder().max_capacity(held).time_to_live(life).build(),
            failures: Cache::builder().max_capacity(held).build(),
            loads: Cache::builder()
                .max_capacity(64)
                .time_to_live(Duration::from_millis(1))
                .build(),
            cfg,
            generations: (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect(),
            hits: AtomicU64::new(0),
        }))
    }

    /// The price of `k`: the one that is held while it is fresh, and otherwise the origin's.
    pub async fn get(&self, k: &str) -> Result<Bytes, CacheError> {
        let core = &self.0;
        let now = core.env.now();
        let generation = core.generation(k);
        let name = format!("{generation}:{k}");
        let held = core.prices.get(&name).await;
        if let Some(price) = held.as_ref().filter(|price| now < price.expires) {
            let early = should_refresh_early(price.expires - now, price.delta, core.cfg.beta, core.env.unit());
            if early && core.failure(&name, now).await.is_none() {
                let (core, k, name, price) = (core.clone(), k.to_owned(), name, price.clone());
                tokio::spawn(async move { core.load(&k, generation, &name, Some(price)).await });
            }
            core.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(price.value.clone());
        }
        let failed = match core.failure(&name, now).await {
            Some(error) => Err(error),
            None => core.load(k, generation, &name, None).await,
        };
        let stale = held.filter(|price| core.env.now() < price.expires + core.cfg.stale_grace);
        failed.or_else(|error| stale.map(|price| price.value).ok_or(error))
    }

    /// Forgets the price of `k`: it has changed.
    pub fn invalidate(&self, k: &str) {
        self.0.generations[slot(k)].fetch_add(1, Ordering::SeqCst);
        self.0.source.forget(k);
    }

    pub fn stats(&self) -> CacheStats {
        let core = &self.0;
        CacheStats {
            entries: (core.prices.entry_count() + core.failures.entry_count()) as usize,
            loading: core.source.loading(),
            loads: core.source.loads(),
            hits: core.hits.load(Ordering::Relaxed),
        }
    }
}

impl Core {
    fn generation(&self, k: &str) -> u64 {
        self.generations[slot(k)].load(Ordering::SeqCst)
    }

    async fn failure(&self, name: &str, now: Duration) -> Option<CacheError> {
        let (error, until) = self.failures.get(name).await?;
        (now < until).then_some(error)
    }

    /// Joins the load of this name, or begins it. The first caller loads, and another takes over when it goes away.
    async fn load(&self, k: &str, generation: u64, name: &str, held: Option<Price>) -> Result<Bytes, CacheError> {
        let loading = self.loads.try_get_with_by_ref(name, async {
            // Somebody may have been done with it just now.
            let known = self.prices.get(name).await.filter(|price| self.env.now() < price.expires);
            if let Some(price) = known
                && held.as_ref().is_none_or(|held| held.expires < price.expires)
            {
                return Ok(price.value);
            }
            let is_current = || self.generation(k) == generation;
            // A generation above zero has seen an invalidation: Redis may not have.
            let bypass = generation > 0;
            let loaded = self.source.price(k, held.as_ref(), bypass, is_current).await;
            match loaded {
                Ok(price) => {
                    self.failures.invalidate(name).await;
                    self.prices.insert(name.to_owned(), price.clone()).await;
                    Ok(price.value)
                }
                Err(error) => {
                    let until = self.env.now() + self.cfg.error_ttl;
                    if !self.cfg.error_ttl.is_zero() {
                        self.failures.insert(name.to_owned(), (error.clone(), until)).await;
                    }
                    Err(error)
                }
            }
        });
        let loaded = loading.await;
        self.loads.invalidate(name).await;
        loaded.map_err(|error| (*error).clone())
    }
}

fn slot(k: &str) -> usize {
    k.bytes().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte))) % GENERATIONS
}
