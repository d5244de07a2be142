//! The cache.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use quick_cache::sync::Cache;

use crate::api::{CacheCfg, CacheError, CacheStats, Env, Origin};
use crate::early::should_refresh_early;
use crate::source::{Price, Source};

/// Prices, as they were when they were last loaded.
pub struct PriceCache(Arc<Core>);

struct Core {
    source: Source,
    env: Arc<dyn Env>,
    cfg: CacheCfg,
    state: Mutex<State>,
    /// The loads that are under way. Whoever comes first has a guard; dropping it makes place for the next.
    loads: Cache<String, Outcome>,
    hits: AtomicU64,
}

struct State {
    entries: LruCache<String, Entry>,
    /// Counts invalidations. A load stores nothing when one came meanwhile that may have been its key's.
    invalidations: Vec<u64>,
    /// Counts outcomes.
    outcomes: u64,
}

type Outcome = Result<Bytes, CacheError>;

#[derive(Default)]
struct Entry {
    price: Option<Price>,
    failure: Option<(CacheError, Duration)>,
    bypass: bool,
    /// Which outcome this is.
    number: u64,
}

enum Seen {
    Answer(Outcome),
    /// Nothing to answer with, up to this outcome.
    Nothing(u64),
}

impl PriceCache {
    pub fn new(o: Arc<dyn Origin>, env: Arc<dyn Env>, cfg: CacheCfg) -> Self {
        let capacity = NonZeroUsize::new(cfg.max_entries).unwrap_or(NonZeroUsize::MIN);
        PriceCache(Arc::new(Core {
            source: Source::new(o, env.clone(), &cfg),
            env,
            cfg,
            state: Mutex::new(State {
                entries: LruCache::new(capacity),
                invalidations: vec![0; 4096],
                outcomes: 0,
            }),
            loads: Cache::new(1024),
            hits: AtomicU64::new(0),
        }))
    }

    /// The price of `k`: the one that is held while it is fresh, and otherwise the origin's.
    pub async fn get(&self, k: &str) -> Result<Bytes, CacheError> {
        let seen = match self.0.look(k) {
            Seen::Answer(answer) => return answer,
            Seen::Nothing(seen) => seen,
        };
        self.0.join(k, seen, None).await
    }

    /// Forgets the price of `k`: it has changed.
    pub fn invalidate(&self, k: &str) {
        let mut state = self.0.state();
        state.invalidations[slot(k)] += 1;
        state.entries.pop(k);
        if self.0.source.is_shared() {
            let forgotten = Entry {
                bypass: true,
                ..Entry::default()
            };
            state.entries.put(k.to_owned(), forgotten);
            self.0.source.forget(k);
        }
    }

    pub fn stats(&self) -> CacheStats {
        CacheStats {
            entries: self.0.state().entries.len(),
            loading: self.0.source.loading(),
            loads: self.0.source.loads(),
            hits: self.0.hits.load(Ordering::Relaxed),
        }
    }
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(self: &Arc<Self>, k: &str) -> Seen {
        let now = self.env.now();
        let mut state = self.state();
        let outcomes = state.outcomes;
        let Some(entry) = state.entries.get(k) else {
            return Seen::Nothing(outcomes);
        };
        if let Some(price) = entry.price.clone().filter(|price| now < price.expires) {
            let early = should_refresh_early(price.expires - now, price.delta, self.cfg.beta, self.env.unit());
            let failed = entry.failure.as_ref().is_some_and(|(_, until)| now < *until);
            drop(state);
            if early && !failed {
                let (core, k, held) = (self.clone(), k.to_owned(), price.clone());
                tokio::spawn(async move { core.join(&k, outcomes, Some(held)).await });
            }
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Seen::Answer(Ok(price.value));
        }
        match &entry.failure {
            Some((_, until)) if now < *until => Seen::Answer(self.settled(entry, now)),
            _ => Seen::Nothing(outcomes),
        }
    }

    /// What an entry comes to when its load has ended at last.
    fn settled(&self, entry: &Entry, now: Duration) -> Outcome {
        let grace = self.cfg.stale_grace;
        match (&entry.price, &entry.failure) {
            (Some(price), _) if now < price.expires + grace => Ok(price.value.clone()),
            (_, Some((error, _))) => Err(error.clone()),
            _ => Err(CacheError::Failed("no price".to_owned())),
        }
    }

    async fn join(&self, k: &str, seen: u64, held: Option<Price>) -> Outcome {
        match self.loads.get_value_or_guard_async(k).await {
            Ok(outcome) => outcome,
            Err(guard) => {
                let outcome = self.load(k, seen, held).await;
                guard.insert(outcome.clone()).ok();
                self.loads.remove(k);
                outcome
            }
        }
    }

    /// Loads, unless somebody has done so since the outcome `seen`.
    async fn load(&self, k: &str, seen: u64, held: Option<Price>) -> Outcome {
        let (bypass, invalidated) = {
            let mut state = self.state();
            let invalidated = state.invalidations[slot(k)];
            match state.entries.get(k) {
                Some(entry) if entry.number > seen => return self.settled(entry, self.env.now()),
                Some(entry) => (entry.bypass, invalidated),
                None => (false, invalidated),
            }
        };
        let is_current = || self.state().invalidations[slot(k)] == invalidated;
        let loaded = self.source.price(k, held.as_ref(), bypass, is_current).await;
        let mut state = self.state();
        if state.invalidations[slot(k)] != invalidated {
            return loaded.map(|price| price.value);
        }
        state.outcomes += 1;
        let now = self.env.now();
        let entry = match loaded {
            Ok(price) => Entry {
                price: Some(price),
                number: state.outcomes,
                ..Entry::default()
            },
            Err(error) => Entry {
                failure: Some((error, now + self.cfg.error_ttl)),
                number: state.outcomes,
                ..state.entries.pop(k).unwrap_or_default()
            },
        };
        let outcome = self.settled(&entry, now);
        state.entries.put(k.to_owned(), entry);
        outcome
    }
}

fn slot(k: &str) -> usize {
    k.bytes().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte))) % 4096
}
