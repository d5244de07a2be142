//! The cache.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use tokio::sync::OnceCell;

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
    hits: AtomicU64,
}

struct State {
    entries: LruCache<String, Entry>,
    /// Whoever wants a key's price initialises its cell, or waits for whoever does; one that is dropped makes place for
    /// the next. The last one who lets go of a cell takes it out.
    cells: HashMap<String, Arc<OnceCell<Outcome>>>,
}

type Outcome = Result<Bytes, CacheError>;

#[derive(Default)]
struct Entry {
    price: Option<Price>,
    failure: Option<(CacheError, Duration)>,
    bypass: bool,
}

/// A caller's interest in a cell.
struct Interest<'a> {
    core: &'a Core,
    k: &'a str,
    cell: Arc<OnceCell<Outcome>>,
}

impl Drop for Interest<'_> {
    fn drop(&mut self) {
        let mut state = self.core.state();
        let mine = state.cells.get(self.k).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell));
        // The table's and this one.
        if mine && Arc::strong_count(&self.cell) == 2 {
            state.cells.remove(self.k);
        }
    }
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
                cells: HashMap::new(),
            }),
            hits: AtomicU64::new(0),
        }))
    }

    /// The price of `k`: the one that is held while it is fresh, and otherwise the origin's.
    pub async fn get(&self, k: &str) -> Result<Bytes, CacheError> {
        let now = self.0.env.now();
        let (interest, held) = {
            let mut state = self.0.state();
            let mut held = None;
            if let Some(entry) = state.entries.get(k) {
                let failed = entry.failure.as_ref().filter(|(_, until)| now < *until);
                if let Some(price) = entry.price.as_ref().filter(|price| now < price.expires) {
                    let remaining = price.expires - now;
                    let early = should_refresh_early(remaining, price.delta, self.0.cfg.beta, self.0.env.unit());
                    if !early || failed.is_some() {
                        self.0.hits.fetch_add(1, Ordering::Relaxed);
                        return Ok(price.value.clone());
                    }
                    held = Some(price.clone());
                } else if let Some((error, _)) = failed {
                    return self.0.stale(entry, now).map_or_else(|| Err(error.clone()), Ok);
                }
            }
            if let Some(price) = &held
                && state.cells.contains_key(k)
            {
                return Ok(price.value.clone());
            }
            let cell = state.cells.entry(k.to_owned()).or_default().clone();
            (Interest { core: &self.0, k, cell }, held)
        };
        let cell = interest.cell.clone();
        let outcome = cell.get_or_init(|| self.0.load(&interest, held)).await.clone();
        drop(cell);
        outcome
    }

    /// Forgets the price of `k`: it has changed.
    pub fn invalidate(&self, k: &str) {
        let mut state = self.0.state();
        state.cells.remove(k);
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

    fn stale(&self, entry: &Entry, now: Duration) -> Option<Bytes> {
        let price = entry.price.as_ref()?;
        (now < price.expires + self.cfg.stale_grace).then(|| price.value.clone())
    }

    async fn load(&self, interest: &Interest<'_>, held: Option<Price>) -> Outcome {
        let (k, cell) = (interest.k, &interest.cell);
        let is_mine = |state: &State| state.cells.get(k).is_some_and(|mine| Arc::ptr_eq(mine, cell));
        let bypass = self.state().entries.peek(k).is_some_and(|entry| entry.bypass);
        let is_current = || is_mine(&self.state());
        let loaded = self.source.price(k, held.as_ref(), bypass, is_current).await;
        let mut state = self.state();
        if !is_mine(&state) {
            return loaded.map(|price| price.value);
        }
        // Those who wait have the cell; whoever comes now finds the entry.
        state.cells.remove(k);
        let now = self.env.now();
        let (entry, outcome) = match loaded {
            Ok(price) => {
                let value = price.value.clone();
                let entry = Entry {
                    price: Some(price),
                    ..Entry::default()
                };
                (entry, Ok(value))
            }
            Err(error) => {
                let known = state.entries.pop(k).unwrap_or_default();
                let outcome = self.stale(&known, now).map_or_else(|| Err(error.clone()), Ok);
                let entry = Entry {
                    failure: Some((error, now + self.cfg.error_ttl)),
                    ..known
                };
                (entry, outcome)
            }
        };
        state.entries.put(k.to_owned(), entry);
        outcome
    }
}
