//! The cache.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use tokio::sync::{mpsc, oneshot};

use crate::api::{CacheCfg, CacheError, CacheStats, Env, Origin};
use crate::early::should_refresh_early;
use crate::source::{Price, Source};

/// Prices, as they were when they were last loaded.
pub struct PriceCache {
    core: Arc<Core>,
    desk: mpsc::UnboundedSender<Message>,
}

struct Core {
    source: Source,
    env: Arc<dyn Env>,
    cfg: CacheCfg,
    state: Mutex<State>,
    hits: AtomicU64,
}

struct State {
    entries: LruCache<String, Entry>,
    /// The numbers of the loads that may store their results.
    current: HashMap<String, u64>,
    last: u64,
}

type Outcome = Result<Bytes, CacheError>;

/// What the desk is told. It alone knows who waits for what.
enum Message {
    Wanted {
        k: String,
        tell: oneshot::Sender<Outcome>,
    },
    Renew {
        k: String,
        held: Price,
    },
    Done {
        k: String,
        id: u64,
        outcome: Outcome,
    },
}

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
        let core = Arc::new(Core {
            source: Source::new(o, env.clone(), &cfg),
            env,
            cfg,
            state: Mutex::new(State {
                entries: LruCache::new(capacity),
                current: HashMap::new(),
                last: 0,
            }),
            hits: AtomicU64::new(0),
        });
        let (desk, messages) = mpsc::unbounded_channel();
        tokio::spawn(run(core.clone(), messages, desk.downgrade()));
        PriceCache { core, desk }
    }

    /// The price of `k`: the one that is held while it is fresh, and otherwise the origin's.
    pub async fn get(&self, k: &str) -> Result<Bytes, CacheError> {
        if let Some(outcome) = self.look(k) {
            return outcome;
        }
        let (tell, told) = oneshot::channel();
        let wanted = Message::Wanted {
            k: k.to_owned(),
            tell,
        };
        self.desk.send(wanted).ok();
        told.await
            .unwrap_or_else(|_| Err(CacheError::Failed(format!("the load of {k} ended without a result"))))
    }

    /// Forgets the price of `k`: it has changed.
    pub fn invalidate(&self, k: &str) {
        let mut state = self.core.state();
        state.current.remove(k);
        state.entries.pop(k);
        if self.core.source.is_shared() {
            let forgotten = Entry {
                bypass: true,
                ..Entry::default()
            };
            state.entries.put(k.to_owned(), forgotten);
            self.core.source.forget(k);
        }
    }

    pub fn stats(&self) -> CacheStats {
        CacheStats {
            entries: self.core.state().entries.len(),
            loading: self.core.source.loading(),
            loads: self.core.source.loads(),
            hits: self.core.hits.load(Ordering::Relaxed),
        }
    }

    fn look(&self, k: &str) -> Option<Outcome> {
        let now = self.core.env.now();
        let mut state = self.core.state();
        let entry = state.entries.get(k)?;
        if let Some(price) = entry.price_until(now, Duration::ZERO) {
            let unit = self.core.env.unit();
            let early = should_refresh_early(price.expires - now, price.delta, self.core.cfg.beta, unit);
            if early && entry.failure_at(now).is_none() {
                let renew = Message::Renew {
                    k: k.to_owned(),
                    held: price.clone(),
                };
                self.desk.send(renew).ok();
            }
            self.core.hits.fetch_add(1, Ordering::Relaxed);
            return Some(Ok(price.value.clone()));
        }
        let error = entry.failure_at(now)?;
        let stale = entry.price_until(now, self.core.cfg.stale_grace);
        Some(stale.map_or_else(|| Err(error.clone()), |price| Ok(price.value.clone())))
    }
}

/// The desk: brings those together who want the same price.
async fn run(core: Arc<Core>, mut messages: mpsc::UnboundedReceiver<Message>, desk: mpsc::WeakUnboundedSender<Message>) {
    let mut waiting: HashMap<String, (u64, Vec<oneshot::Sender<Outcome>>)> = HashMap::new();
    while let Some(message) = messages.recv().await {
        let (k, tell, held) = match message {
            Message::Wanted { k, tell } => (k, Some(tell), None),
            Message::Renew { k, held } => (k, None, Some(held)),
            Message::Done { k, id, outcome } => {
                if waiting.get(&k).is_some_and(|(of, _)| *of == id)
                    && let Some((_, tells)) = waiting.remove(&k)
                {
                    for tell in tells {
                        tell.send(outcome.clone()).ok();
                    }
                }
                continue;
            }
        };
        // It may have been loaded since it was asked for.
        if let Some(answer) = core.fresh(&k, held.as_ref()) {
            if let Some(tell) = tell {
                tell.send(Ok(answer)).ok();
            }
            continue;
        }
        if let Some((_, tells)) = waiting.get_mut(&k) {
            tells.extend(tell);
            continue;
        }
        let (id, bypass) = {
            let mut state = core.state();
            state.last += 1;
            let id = state.last;
            state.current.insert(k.clone(), id);
            (id, state.entries.peek(&k).is_some_and(|entry| entry.bypass))
        };
        waiting.insert(k.clone(), (id, Vec::from_iter(tell)));
        let (core, desk) = (core.clone(), desk.clone());
        tokio::spawn(async move {
            let (within, key) = (core.clone(), k.clone());
            let load = tokio::spawn(async move {
                let is_current = || within.state().current.get(&key) == Some(&id);
                let loaded = within.source.price(&key, held.as_ref(), bypass, is_current).await;
                within.keep(&key, id, loaded)
            });
            let outcome = load.await.unwrap_or_else(|err| Err(CacheError::Failed(err.to_string())));
            core.over(&k, id);
            if let Some(desk) = desk.upgrade() {
                desk.send(Message::Done { k, id, outcome }).ok();
            }
        });
    }
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, k: &str, held: Option<&Price>) -> Option<Bytes> {
        let now = self.env.now();
        let state = self.state();
        let price = state.entries.peek(k)?.price_until(now, Duration::ZERO)?;
        let newer = held.is_none_or(|held| price.expires > held.expires);
        newer.then(|| price.value.clone())
    }

    fn over(&self, k: &str, id: u64) {
        let mut state = self.state();
        if state.current.get(k) == Some(&id) {
            state.current.remove(k);
        }
    }

    fn keep(&self, k: &str, id: u64, loaded: Result<Price, CacheError>) -> Outcome {
        let mut state = self.state();
        if state.current.get(k) != Some(&id) {
            return loaded.map(|price| price.value);
        }
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
                let stale = known.price_until(now, self.cfg.stale_grace).cloned();
                let outcome = stale.as_ref().map_or_else(|| Err(error.clone()), |price| Ok(price.value.clone()));
                let entry = Entry {
                    price: stale,
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
