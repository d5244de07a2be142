//! The cache.
//!
//! A load is a task of its own, a *flight*: whoever wants its price waits for it to land, and it goes on when they have
//! gone. What a flight brings is kept if it is still the key's flight then; `invalidate` makes it nobody's.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use tokio::sync::{Semaphore, watch};

use crate::api::{CacheCfg, CacheError, CacheStats, Env, Origin, OriginError};
use crate::early::should_refresh_early;
use crate::shared::{self, Shared};

/// How many loads the database is to bear from one instance.
const AT_ONE_TIME: usize = 32;

type Answer = Result<Bytes, CacheError>;

/// Prices, as they were when they were last loaded.
pub struct PriceCache {
    inner: Arc<Inner>,
}

struct Inner {
    origin: Arc<dyn Origin>,
    env: Arc<dyn Env>,
    cfg: CacheCfg,
    state: Mutex<State>,
    shared: Option<Arc<Shared>>,
    permits: Semaphore,
    loading: AtomicUsize,
    loads: AtomicU64,
    hits: AtomicU64,
}

struct State {
    held: LruCache<Arc<str>, Held>,
    flights: HashMap<Arc<str>, Flight>,
    flown: u64,
    /// Keys of which only an error is held, and until when, in this order.
    failed: VecDeque<(Duration, Arc<str>)>,
}

struct Flight {
    number: u64,
    landed: watch::Receiver<Option<Answer>>,
}

struct Held {
    price: Option<Price>,
    failure: Option<Failure>,
    /// Flights that were to renew this price.
    renewals: u8,
}

struct Price {
    value: Bytes,
    id: u128,
    expires: Duration,
    /// How long its load took.
    delta: Duration,
}

struct Failure {
    error: OriginError,
    until: Duration,
}

/// What a flight looks for: not what is held already.
struct Errand {
    held: Option<u128>,
    renewal: bool,
}

struct Brought {
    price: Price,
    from_origin: bool,
}

enum Found {
    Answer(Answer),
    Flight(watch::Receiver<Option<Answer>>),
}

impl PriceCache {
    pub fn new(o: Arc<dyn Origin>, env: Arc<dyn Env>, cfg: CacheCfg) -> Self {
        let shared = cfg.shared.as_ref();
        let inner = Inner {
            origin: o,
            env,
            shared: shared.and_then(|url| Shared::open(url, cfg.ttl)),
            cfg,
            state: Mutex::new(State {
                held: LruCache::unbounded(),
                flights: HashMap::new(),
                flown: 0,
                failed: VecDeque::new(),
            }),
            permits: Semaphore::new(AT_ONE_TIME),
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
        let mut flight = match self.inner.find(k) {
            Found::Answer(answer) => return answer,
            Found::Flight(flight) => flight,
        };
        let landed = match flight.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone(),
            Err(_) => None,
        };
        match landed {
            Some(Ok(value)) => Ok(value),
            Some(Err(err)) => self.inner.stale(k).ok_or(err),
            None => {
                let crashed = || CacheError::Failed(format!("the load of {k} came to no end"));
                self.inner.stale(k).ok_or_else(crashed)
            }
        }
    }

    /// Forgets the price of `k`: it has changed.
    pub fn invalidate(&self, k: &str) {
        let mut state = lock(&self.inner.state);
        state.held.pop(k);
        state.end(k);
        // While the state is locked, so that no older price is put there after this.
        if let Some(shared) = &self.inner.shared {
            shared.remove(k);
        }
    }

    pub fn stats(&self) -> CacheStats {
        let now = self.inner.env.now();
        let mut state = lock(&self.inner.state);
        state.sweep(now);
        CacheStats {
            entries: state.held.len(),
            loading: self.inner.loading.load(Ordering::SeqCst),
            loads: self.inner.loads.load(Ordering::Relaxed),
            hits: self.inner.hits.load(Ordering::Relaxed),
        }
    }
}

impl Inner {
    fn find(self: &Arc<Self>, k: &str) -> Found {
        let now = self.env.now();
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let mut errand = Errand {
            held: None,
            renewal: false,
        };
        if let Some(held) = state.held.get_mut(k) {
            if let Some(price) = &held.price {
                errand.held = Some(price.id);
                if now < price.expires {
                    self.hits.fetch_add(1, Ordering::Relaxed);
                    let value = price.value.clone();
                    if self.is_due(held, price.expires - now, price.delta)
                        && !state.flights.contains_key(k)
                    {
                        held.renewals += 1;
                        errand.renewal = true;
                        self.begin(state, k, errand);
                    }
                    return Found::Answer(Ok(value));
                }
            }
            if let Some(failure) = &held.failure
                && now < failure.until
            {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Found::Answer(match &held.price {
                    Some(price) if self.may_be_stale(price, now) => Ok(price.value.clone()),
                    _ => Err(failure.error.clone().into()),
                });
            }
        }
        state.sweep(now);
        Found::Flight(match state.flights.get(k) {
            Some(flight) => flight.landed.clone(),
            None => self.begin(state, k, errand),
        })
    }

    /// In the second half of a price's life a renewal becomes ever likelier, in the last fifth it is certain. If it fails
    /// there is one more.
    fn is_due(&self, held: &Held, remaining: Duration, delta: Duration) -> bool {
        let ttl = self.cfg.ttl;
        match held.renewals {
            0 if remaining <= ttl / 5 => true,
            0 if remaining <= ttl / 2 => {
                should_refresh_early(remaining, delta, self.cfg.beta, self.env.unit())
            }
            1 => remaining <= ttl / 8,
            _ => false,
        }
    }

    fn may_be_stale(&self, price: &Price, now: Duration) -> bool {
        now < price.expires.saturating_add(self.cfg.stale_grace)
    }

    /// What there is for `k` when the origin has failed.
    fn stale(&self, k: &str) -> Option<Bytes> {
        let now = self.env.now();
        let state = lock(&self.state);
        let price = state.held.peek(k)?.price.as_ref()?;
        self.may_be_stale(price, now).then(|| price.value.clone())
    }

    fn begin(
        self: &Arc<Self>,
        state: &mut State,
        k: &str,
        errand: Errand,
    ) -> watch::Receiver<Option<Answer>> {
        let k: Arc<str> = k.into();
        let (tell, landed) = watch::channel(None);
        state.flown += 1;
        let number = state.flown;
        let flight = Flight {
            number,
            landed: landed.clone(),
        };
        state.flights.insert(k.clone(), flight);
        tokio::spawn(self.clone().fly(k, number, errand, tell));
        landed
    }

    async fn fly(
        self: Arc<Self>,
        k: Arc<str>,
        number: u64,
        errand: Errand,
        tell: watch::Sender<Option<Answer>>,
    ) {
        // Dropped before `tell`: whoever is told that there is no answer finds no flight.
        let _crash = Crash {
            inner: &self,
            k: &k,
            number,
        };
        let brought = self.fetch(&k, errand).await;
        let answer = self.land(&k, number, brought);
        tell.send_replace(Some(answer));
    }

    async fn fetch(&self, k: &Arc<str>, errand: Errand) -> Result<Brought, OriginError> {
        if let Some(shared) = &self.shared {
            let asked = self.env.now();
            if let Some(copy) = shared.read(k).await {
                let remaining = copy.remaining.min(self.cfg.ttl);
                let expires = asked.saturating_add(remaining);
                let is_new = errand.held != Some(copy.id);
                let will_do = !errand.renewal || remaining > self.cfg.ttl / 2;
                if is_new && will_do && self.env.now() < expires {
                    self.hits.fetch_add(1, Ordering::Relaxed);
                    return Ok(Brought {
                        price: Price {
                            value: copy.value,
                            id: copy.id,
                            expires,
                            delta: copy.delta,
                        },
                        from_origin: false,
                    });
                }
            }
        }
        let _permit = self.permits.acquire().await;
        let begun = self.env.now();
        let value = {
            let _loading = Loading::begin(self);
            self.origin.load(k).await?
        };
        let ended = self.env.now();
        Ok(Brought {
            price: Price {
                value,
                id: shared::new_id(),
                expires: ended.saturating_add(self.cfg.ttl),
                delta: ended.saturating_sub(begun),
            },
            from_origin: true,
        })
    }

    fn land(&self, k: &Arc<str>, number: u64, brought: Result<Brought, OriginError>) -> Answer {
        let now = self.env.now();
        let mut state = lock(&self.state);
        let is_ours = state.is_at(k, number);
        if is_ours {
            state.end(k);
        }
        match brought {
            Ok(Brought { price, from_origin }) => {
                let value = price.value.clone();
                if is_ours {
                    if from_origin && let Some(shared) = &self.shared {
                        let copy = shared::Copy {
                            id: price.id,
                            delta: price.delta,
                            value: value.clone(),
                            remaining: price.expires.saturating_sub(now),
                        };
                        shared.put(k, &copy);
                    }
                    let held = Held {
                        price: Some(price),
                        failure: None,
                        renewals: 0,
                    };
                    state.held.put(k.clone(), held);
                    self.bound(&mut state);
                }
                Ok(value)
            }
            Err(error) => {
                if is_ours {
                    self.note_failure(&mut state, k, &error, now);
                }
                Err(error.into())
            }
        }
    }

    fn note_failure(&self, state: &mut State, k: &Arc<str>, error: &OriginError, now: Duration) {
        if self.cfg.error_ttl.is_zero() {
            return;
        }
        let until = now.saturating_add(self.cfg.error_ttl);
        let failure = Some(Failure {
            error: error.clone(),
            until,
        });
        match state.held.peek_mut(k) {
            Some(held) if held.price.as_ref().is_some_and(|price| now < price.expires) => {}
            Some(held) if held.price.as_ref().is_some_and(|price| self.may_be_stale(price, now)) => {
                held.failure = failure;
            }
            _ => {
                let held = Held {
                    price: None,
                    failure,
                    renewals: 0,
                };
                state.held.put(k.clone(), held);
                state.failed.push_back((until, k.clone()));
                self.bound(state);
            }
        }
        state.sweep(now);
    }

    fn bound(&self, state: &mut State) {
        while state.held.len() > self.cfg.max_entries {
            state.held.pop_lru();
        }
    }
}

impl State {
    fn is_at(&self, k: &str, number: u64) -> bool {
        self.flights.get(k).is_some_and(|flight| flight.number == number)
    }

    fn end(&mut self, k: &str) {
        self.flights.remove(k);
        let room = self.flights.capacity();
        if room > 64 && self.flights.len() < room / 4 {
            self.flights.shrink_to(self.flights.len() * 2);
        }
    }

    /// Forgets errors that have had their time.
    fn sweep(&mut self, now: Duration) {
        while let Some((until, k)) = self.failed.pop_front_if(|(until, _)| *until <= now) {
            if is_failure(&self.held, &k, until) {
                self.held.pop(&k);
            }
        }
        if self.failed.len() > 2 * self.held.len() + 64 {
            let held = &self.held;
            self.failed.retain(|(until, k)| is_failure(held, k, *until));
        }
        if self.failed.capacity() > 4 * self.failed.len() + 64 {
            self.failed.shrink_to(2 * self.failed.len());
        }
    }
}

fn is_failure(held: &LruCache<Arc<str>, Held>, k: &str, until: Duration) -> bool {
    held.peek(k).is_some_and(|held| {
        held.price.is_none() && held.failure.as_ref().is_some_and(|failure| failure.until == until)
    })
}

/// Ends a flight that has come to no end of its own.
struct Crash<'a> {
    inner: &'a Inner,
    k: &'a str,
    number: u64,
}

impl Drop for Crash<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.inner.state);
        if state.is_at(self.k, self.number) {
            state.end(self.k);
        }
    }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
