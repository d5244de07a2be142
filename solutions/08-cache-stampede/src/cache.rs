//! The cache.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use tokio::sync::watch;

use crate::api::{CacheCfg, CacheError, CacheStats, Env, Origin};
use crate::early::should_refresh_early;
use crate::shared::{Claim, Copy, POLL, Shared};

/// Prices, as they were when they were last loaded.
pub struct PriceCache(Arc<Core>);

struct Core {
    origin: Arc<dyn Origin>,
    env: Arc<dyn Env>,
    cfg: CacheCfg,
    state: Mutex<State>,
    shared: Option<Arc<Shared>>,
    loading: AtomicUsize,
    loads: AtomicU64,
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
    outcome: watch::Receiver<Option<Outcome>>,
}

type Outcome = Result<Bytes, CacheError>;

/// What is known of a key. Prices and errors share one bound.
struct Entry {
    price: Option<Price>,
    /// What the origin last said instead of a price, and until when that may be repeated.
    failure: Option<(CacheError, Duration)>,
    /// The copy in Redis may be older than the last invalidation.
    bypass: bool,
}

#[derive(Clone)]
struct Price {
    value: Bytes,
    expires: Duration,
    /// How long its load took.
    delta: Duration,
}

impl PriceCache {
    pub fn new(o: Arc<dyn Origin>, env: Arc<dyn Env>, cfg: CacheCfg) -> Self {
        let capacity = NonZeroUsize::new(cfg.max_entries).unwrap_or(NonZeroUsize::MIN);
        let state = State {
            entries: LruCache::new(capacity),
            flights: HashMap::new(),
            last_flight: 0,
        };
        PriceCache(Arc::new(Core {
            origin: o,
            env,
            shared: cfg.shared.as_ref().and_then(Shared::open).map(Arc::new),
            cfg,
            state: Mutex::new(state),
            loading: AtomicUsize::new(0),
            loads: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        }))
    }

    /// The price of `k`: the one that is held while it is fresh, and otherwise the origin's.
    pub async fn get(&self, k: &str) -> Result<Bytes, CacheError> {
        let now = self.0.env.now();
        let mut outcome = {
            let mut state = self.0.state();
            if let Some(entry) = state.entries.get(k) {
                let stale = entry.price.as_ref().filter(|price| now < price.expires + self.0.cfg.stale_grace);
                if let Some(price) = stale.filter(|price| now < price.expires) {
                    let price = price.clone();
                    let remaining = price.expires - now;
                    let unit = self.0.env.unit();
                    if should_refresh_early(remaining, price.delta, self.0.cfg.beta, unit)
                        && entry.failure.as_ref().is_none_or(|(_, until)| now >= *until)
                    {
                        self.0.join(&mut state, k, Some(&price));
                    }
                    self.0.hits.fetch_add(1, Ordering::Relaxed);
                    return Ok(price.value);
                }
                if let Some((error, until)) = &entry.failure
                    && now < *until
                {
                    return stale.map_or_else(|| Err(error.clone()), |price| Ok(price.value.clone()));
                }
            }
            self.0.join(&mut state, k, None)
        };
        // The sender is dropped without a word when the load panicked.
        match outcome.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            _ => Err(CacheError::Failed(format!("the load of {k} ended without a result"))),
        }
    }

    /// Forgets the price of `k`: it has changed.
    pub fn invalidate(&self, k: &str) {
        let mut state = self.0.state();
        // Whoever waits for the load still gets its result; nobody else will, and it stores nothing.
        state.flights.remove(k);
        state.entries.pop(k);
        if let Some(shared) = self.0.shared.clone() {
            let forgotten = Entry {
                price: None,
                failure: None,
                bypass: true,
            };
            state.entries.put(k.to_owned(), forgotten);
            let k = k.to_owned();
            tokio::spawn(async move { shared.forget(&k).await });
        }
    }

    pub fn stats(&self) -> CacheStats {
        CacheStats {
            entries: self.0.state().entries.len(),
            loading: self.0.loading.load(Ordering::Relaxed),
            loads: self.0.loads.load(Ordering::Relaxed),
            hits: self.0.hits.load(Ordering::Relaxed),
        }
    }
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the load of `k` that is under way, or begins one. `current` is the price that is being renewed early.
    fn join(
        self: &Arc<Self>,
        state: &mut State,
        k: &str,
        current: Option<&Price>,
    ) -> watch::Receiver<Option<Outcome>> {
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
        let landing = Landing {
            core: self.clone(),
            k: k.to_owned(),
            id,
        };
        let bypass = state.entries.peek(k).is_some_and(|entry| entry.bypass);
        tokio::spawn(landing.fly(sender, current.cloned(), bypass));
        outcome
    }

    /// The origin's price, and how long that took.
    async fn load(&self, k: &str) -> Result<Price, CacheError> {
        let begun = self.env.now();
        self.loads.fetch_add(1, Ordering::Relaxed);
        let loading = Loading::begin(&self.loading);
        let value = self.origin.load(k).await?;
        drop(loading);
        let now = self.env.now();
        Ok(Price {
            value,
            expires: now + self.cfg.ttl,
            delta: now - begun,
        })
    }

    fn known(&self, copy: Copy) -> Price {
        Price {
            value: copy.value,
            expires: self.env.now() + copy.remaining,
            delta: copy.delta,
        }
    }
}

/// One load under way; dropping it, whether done or not, takes it out of the table.
struct Landing {
    core: Arc<Core>,
    k: String,
    id: u64,
}

impl Landing {
    async fn fly(self, sender: watch::Sender<Option<Outcome>>, current: Option<Price>, bypass: bool) {
        let loaded = match self.core.shared.clone() {
            None => self.core.load(&self.k).await,
            Some(shared) => self.through(&shared, current, bypass).await,
        };
        let outcome = self.keep(loaded);
        sender.send_replace(Some(outcome));
    }

    /// From Redis if another instance has put it there, from the origin if it is this instance's turn.
    async fn through(
        &self,
        shared: &Shared,
        current: Option<Price>,
        bypass: bool,
    ) -> Result<Price, CacheError> {
        let expires = current.as_ref().map_or(Duration::ZERO, |price| price.expires);
        loop {
            if !bypass
                && let Some(copy) = shared.get(&self.k).await
                && self.core.env.now() + copy.remaining > expires + POLL
            {
                return Ok(self.core.known(copy));
            }
            match (shared.claim(&self.k).await, &current) {
                (Claim::Mine(token), _) => {
                    let loaded = self.core.load(&self.k).await;
                    let copy = loaded.as_ref().ok().filter(|_| self.is_current());
                    let copy = copy.map(|price| Copy {
                        value: price.value.clone(),
                        remaining: self.core.cfg.ttl,
                        delta: price.delta,
                    });
                    shared.finish(&self.k, copy, &token).await;
                    return loaded;
                }
                (Claim::Theirs, Some(current)) => return Ok(current.clone()),
                (Claim::Theirs, None) if !bypass => tokio::time::sleep(POLL).await,
                (Claim::Theirs | Claim::Unknown, _) => return self.core.load(&self.k).await,
            }
        }
    }

    /// Whether the key has not been invalidated since this load began.
    fn is_current(&self) -> bool {
        let state = self.core.state();
        state.flights.get(&self.k).is_some_and(|flight| flight.id == self.id)
    }

    /// Stores the result and takes the load out of the table in one step: whoever comes later finds one or the other.
    fn keep(&self, loaded: Result<Price, CacheError>) -> Outcome {
        let mut state = self.core.state();
        if state.flights.get(&self.k).is_none_or(|flight| flight.id != self.id) {
            return loaded.map(|price| price.value);
        }
        state.flights.remove(&self.k);
        let now = self.core.env.now();
        let (price, failure) = match loaded {
            Ok(price) => (Some(price), None),
            Err(error) => {
                let held = state.entries.peek(&self.k).and_then(|entry| entry.price.clone());
                let stale = held.filter(|price| now < price.expires + self.core.cfg.stale_grace);
                (stale, Some((error, now + self.core.cfg.error_ttl)))
            }
        };
        let outcome = match (&price, &failure) {
            (Some(price), _) => Ok(price.value.clone()),
            (None, Some((error, _))) => Err(error.clone()),
            (None, None) => return Err(CacheError::Failed("no price".to_owned())),
        };
        let entry = Entry {
            price,
            failure,
            bypass: false,
        };
        state.entries.put(self.k.clone(), entry);
        outcome
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut state = self.core.state();
        if state.flights.get(&self.k).is_some_and(|flight| flight.id == self.id) {
            state.flights.remove(&self.k);
        }
    }
}

/// Counts a call to the origin for as long as it lives, so that one that is dropped counts no longer.
struct Loading<'a>(&'a AtomicUsize);

impl<'a> Loading<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Loading(count)
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
