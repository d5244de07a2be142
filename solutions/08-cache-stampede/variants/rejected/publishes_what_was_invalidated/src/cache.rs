//! The cache.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use tokio::sync::watch;

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
    /// The loads that are under way, one for a key. A load is a task of its own: it belongs to nobody who waits for it,
    /// so no caller's end is its end. It takes itself out in the step that stores its result, and when it is dropped.
    flights: HashMap<String, Flight>,
    last_flight: u64,
}

struct Flight {
    id: u64,
    outcome: Waiting,
}

/// How a caller learns of the outcome. A load that panics drops the sender without a word.
type Waiting = watch::Receiver<Option<Outcome>>;
type Outcome = Result<Bytes, CacheError>;

/// What is known of a key. Prices and errors share one bound.
#[derive(Default)]
struct Entry {
    price: Option<Price>,
    /// What the origin last said instead of a price, and until when that may be repeated.
    failure: Option<(CacheError, Duration)>,
    /// The copy in Redis may be older than the last invalidation.
    bypass: bool,
}

impl Entry {
    fn price_until(&self, now: Duration, grace: Duration) -> Option<&Price> {
        self.price.as_ref().filter(|price| now < price.expires + grace)
    }

    fn failure_at(&self, now: Duration) -> Option<&CacheError> {
        let (error, until) = self.failure.as_ref()?;
        (now < *until).then_some(error)
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
                flights: HashMap::new(),
                last_flight: 0,
            }),
            hits: AtomicU64::new(0),
        }))
    }

    /// The price of `k`: the one that is held while it is fresh, and otherwise the origin's.
    pub async fn get(&self, k: &str) -> Result<Bytes, CacheError> {
        let mut waiting = match self.0.look(k) {
            Ok(answer) => return answer,
            Err(waiting) => waiting,
        };
        match waiting.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            _ => Err(CacheError::Failed(format!(
                "the load of {k} ended without a result"
            ))),
        }
    }

    /// Forgets the price of `k`: it has changed.
    pub fn invalidate(&self, k: &str) {
        let mut state = self.0.state();
        // Whoever waits for the load still gets its result; nobody else will, and it stores nothing.
        state.flights.remove(k);
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

    /// What can be answered at once; else what to wait for.
    fn look(self: &Arc<Self>, k: &str) -> Result<Outcome, Waiting> {
        let now = self.env.now();
        let mut state = self.state();
        let Some(entry) = state.entries.get(k) else {
            return Err(self.join(&mut state, k, None));
        };
        if let Some(price) = entry.price_until(now, Duration::ZERO).cloned() {
            let remaining = price.expires - now;
            let early = should_refresh_early(remaining, price.delta, self.cfg.beta, self.env.unit());
            if early && entry.failure_at(now).is_none() {
                self.join(&mut state, k, Some(&price));
            }
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(Ok(price.value));
        }
        if let Some(error) = entry.failure_at(now) {
            let stale = entry.price_until(now, self.cfg.stale_grace);
            return Ok(stale.map_or_else(|| Err(error.clone()), |price| Ok(price.value.clone())));
        }
        Err(self.join(&mut state, k, None))
    }

    /// Joins the load of `k` that is under way, or begins one. `held` is the price that is being renewed early.
    fn join(self: &Arc<Self>, state: &mut State, k: &str, held: Option<&Price>) -> Waiting {
        if let Some(flight) = state.flights.get(k) {
            return flight.outcome.clone();
        }
        state.last_flight += 1;
        let id = state.last_flight;
        let (sender, outcome) = watch::channel(None);
        let flight = Flight {
            id,
            outcome: outcome.clone(),
        };
        state.flights.insert(k.to_owned(), flight);
        let bypass = state.entries.peek(k).is_some_and(|entry| entry.bypass);
        let landing = Landing {
            core: self.clone(),
            k: k.to_owned(),
            id,
        };
        tokio::spawn(landing.fly(sender, held.cloned(), bypass));
        outcome
    }
}

/// One load under way; dropping it, whether done or not, takes it out of the table.
struct Landing {
    core: Arc<Core>,
    k: String,
    id: u64,
}

impl Landing {
    async fn fly(self, sender: watch::Sender<Option<Outcome>>, held: Option<Price>, bypass: bool) {
        let loading = self.core.source.price(&self.k, held.as_ref(), bypass);
        let loaded = loading.await;
        let outcome = self.keep(loaded);
        sender.send_replace(Some(outcome));
    }

    /// Whether the key has not been invalidated since this load began.
    fn is_current(&self, state: &State) -> bool {
        state
            .flights
            .get(&self.k)
            .is_some_and(|flight| flight.id == self.id)
    }

    /// Stores the result and takes the load out of the table in one step: whoever comes later finds one or the other.
    fn keep(&self, loaded: Result<Price, CacheError>) -> Outcome {
        let mut state = self.core.state();
        if !self.is_current(&state) {
            return loaded.map(|price| price.value);
        }
        state.flights.remove(&self.k);
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
                let now = self.core.env.now();
                let known = state.entries.pop(&self.k).unwrap_or_default();
                let stale = known.price_until(now, self.core.cfg.stale_grace).cloned();
                let outcome = stale
                    .as_ref()
                    .map_or_else(|| Err(error.clone()), |price| Ok(price.value.clone()));
                let entry = Entry {
                    price: stale,
                    failure: Some((error, now + self.core.cfg.error_ttl)),
                    ..known
                };
                (entry, outcome)
            }
        };
        state.entries.put(self.k.clone(), entry);
        outcome
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut state = self.core.state();
        if self.is_current(&state) {
            state.flights.remove(&self.k);
        }
    }
}
