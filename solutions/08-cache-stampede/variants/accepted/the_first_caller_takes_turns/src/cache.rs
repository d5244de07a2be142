//! The cache.
//!
//! No task is spawned for a load: the caller who comes first loads, in its own `get`, and has the *lead* of its key for
//! as long. The others wait until it tells them what has come of it. If it goes away, they find the lead free.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::api::{CacheCfg, CacheError, CacheStats, Env, Origin, OriginError};
use crate::early::should_refresh_early;
use crate::shared::{self, Claim, Shared, TURN, Turn};

type Answer = Result<Bytes, CacheError>;

/// How often an instance that waits for another's load looks for it.
const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// Prices, as they were when they were last loaded.
pub struct PriceCache {
    origin: Arc<dyn Origin>,
    env: Arc<dyn Env>,
    cfg: CacheCfg,
    books: Mutex<Books>,
    shared: Option<Arc<Shared>>,
    loading: AtomicUsize,
    loads: AtomicU64,
    hits: AtomicU64,
}

/// The pages, and in which order they were last used.
#[derive(Default)]
struct Books {
    pages: HashMap<Arc<str>, Page>,
    order: BTreeMap<u64, Arc<str>>,
    clock: u64,
    leads: HashMap<Arc<str>, Led>,
    /// Pages of errors by the end of their time.
    errors: BTreeMap<(Duration, u64), Arc<str>>,
}

struct Page {
    used: u64,
    content: Content,
}

enum Content {
    Price {
        price: Price,
        /// When a caller began to renew it.
        renewed: Option<Duration>,
        /// The origin has failed; until then it is not asked again.
        failed_until: Duration,
        error: Option<OriginError>,
    },
    Error {
        error: OriginError,
        until: Duration,
        number: u64,
    },
}

#[derive(Clone)]
struct Price {
    value: Bytes,
    id: u128,
    expires: Duration,
    /// How long its load took.
    delta: Duration,
}

/// A key for which somebody is loading.
struct Led {
    number: u64,
    told: watch::Receiver<Option<Answer>>,
    /// The price has been invalidated since: what comes is not to be kept.
    outdated: bool,
}

/// Says that its owner loads.
struct Lead<'a> {
    cache: &'a PriceCache,
    k: Arc<str>,
    number: u64,
    tell: watch::Sender<Option<Answer>>,
    /// The price that is held, fresh or not.
    old: Option<Price>,
    is_renewal: bool,
}

enum Role<'a> {
    Served(Answer),
    Waiter(watch::Receiver<Option<Answer>>),
    Leader(Lead<'a>),
}

struct Brought {
    price: Price,
    from_origin: bool,
    turn: Option<Turn>,
}

impl PriceCache {
    pub fn new(o: Arc<dyn Origin>, env: Arc<dyn Env>, cfg: CacheCfg) -> Self {
        let shared = cfg.shared.as_ref();
        PriceCache {
            origin: o,
            env,
            shared: shared.and_then(|url| Shared::open(url, cfg.ttl)),
            cfg,
            books: Mutex::default(),
            loading: AtomicUsize::new(0),
            loads: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        }
    }

    /// The price of `k`: the one that is held while it is fresh, and otherwise the origin's.
    pub async fn get(&self, k: &str) -> Result<Bytes, CacheError> {
        loop {
            match self.role(k) {
                Role::Served(answer) => return answer,
                Role::Leader(lead) => return self.lead(lead).await,
                Role::Waiter(mut told) => {
                    let told = told.wait_for(Option::is_some).await;
                    if let Ok(Some(answer)) = told.map(|answer| answer.clone()) {
                        return answer.or_else(|err| self.stale(k).ok_or(err));
                    }
                    // The leader has gone.
                }
            }
        }
    }

    /// Forgets the price of `k`: it has changed.
    pub fn invalidate(&self, k: &str) {
        let mut books = lock(&self.books);
        books.remove(k);
        if let Some(led) = books.leads.get_mut(k) {
            led.outdated = true;
        }
        if let Some(shared) = &self.shared {
            shared.remove(k);
        }
    }

    pub fn stats(&self) -> CacheStats {
        let now = self.env.now();
        let mut books = lock(&self.books);
        books.drop_errors(now);
        CacheStats {
            entries: books.pages.len(),
            loading: self.loading.load(Ordering::SeqCst),
            loads: self.loads.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
        }
    }

    fn role(&self, k: &str) -> Role<'_> {
        let now = self.env.now();
        let mut guard = lock(&self.books);
        let books = &mut *guard;
        books.touch(k);
        let led = books.leads.get(k);
        let mut old = None;
        let mut is_renewal = false;
        match books.pages.get_mut(k).map(|page| &mut page.content) {
            Some(Content::Price {
                price,
                renewed,
                failed_until,
                error,
            }) => {
                if now < price.expires {
                    if led.is_some() || !self.is_due(price, *renewed, now) {
                        return self.served(Ok(price.value.clone()));
                    }
                    *renewed = Some(now);
                    is_renewal = true;
                } else if now < *failed_until
                    && let Some(error) = error
                {
                    let stale = self.is_servable(price, now).then(|| price.value.clone());
                    return self.served(stale.ok_or(CacheError::Origin(error.clone())));
                }
                old = Some(price.clone());
            }
            Some(Content::Error { error, until, .. }) if now < *until => {
                let err = CacheError::Origin(error.clone());
                return self.served(Err(err));
            }
            _ => {}
        }
        if let Some(led) = led {
            return Role::Waiter(led.told.clone());
        }
        let k: Arc<str> = k.into();
        let (tell, told) = watch::channel(None);
        let number = books.tick();
        let led = Led {
            number,
            told,
            outdated: false,
        };
        books.leads.insert(k.clone(), led);
        Role::Leader(Lead {
            cache: self,
            k,
            number,
            tell,
            old,
            is_renewal,
        })
    }

    fn served(&self, answer: Answer) -> Role<'_> {
        self.hits.fetch_add(1, Ordering::Relaxed);
        Role::Served(answer)
    }

    /// XFetch, in the second half of a price's life; if β is not zero a renewal is certain in its last quarter. One that
    /// has come to nothing is tried once more, at the very end.
    fn is_due(&self, price: &Price, renewed: Option<Duration>, now: Duration) -> bool {
        let ttl = self.cfg.ttl;
        let last_chance = price.expires.saturating_sub(ttl / 12);
        let remaining = price.expires.saturating_sub(now);
        match renewed {
            Some(renewed) => renewed < last_chance && now >= last_chance,
            None if remaining > ttl / 2 => false,
            None if remaining <= ttl / 4 && self.cfg.beta > 0.0 => true,
            None => should_refresh_early(remaining, price.delta, self.cfg.beta, self.env.unit()),
        }
    }

    fn is_servable(&self, price: &Price, now: Duration) -> bool {
        now < price.expires.saturating_add(self.cfg.stale_grace)
    }

    /// What there is for `k` when the origin has failed.
    fn stale(&self, k: &str) -> Option<Bytes> {
        let now = self.env.now();
        match &lock(&self.books).pages.get(k)?.content {
            Content::Price { price, .. } if self.is_servable(price, now) => Some(price.value.clone()),
            _ => None,
        }
    }

    async fn lead(&self, lead: Lead<'_>) -> Answer {
        let brought = self.fetch(&lead).await;
        let (k, old) = (lead.k.clone(), lead.old.clone().filter(|_| lead.is_renewal));
        match lead.finish(brought) {
            Ok(value) => Ok(value),
            // It was fresh when its renewal began: still good enough for who has begun it, if it is there.
            Err(err) => match old {
                Some(old) if self.holds(&k, old.id) => Ok(old.value),
                _ => self.stale(&k).ok_or(err),
            },
        }
    }

    fn holds(&self, k: &str, id: u128) -> bool {
        let books = lock(&self.books);
        let page = books.pages.get(k).map(|page| &page.content);
        matches!(page, Some(Content::Price { price, .. }) if price.id == id)
    }

    async fn fetch(&self, lead: &Lead<'_>) -> Result<Brought, OriginError> {
        let mut turn = None;
        if let Some(shared) = &self.shared {
            let patience = Instant::now() + TURN;
            loop {
                if let Some(price) = self.copy(shared, lead).await {
                    return Ok(Brought {
                        price,
                        from_origin: false,
                        turn,
                    });
                }
                if turn.is_some() || Instant::now() >= patience {
                    break;
                }
                match shared.claim(&lead.k).await {
                    // One more look: it may have come in between.
                    Claim::Ours(ours) => turn = Some(ours),
                    Claim::Theirs => sleep(LOOK_AGAIN).await,
                    Claim::Unknown => break,
                }
            }
        }
        let begun = self.env.now();
        let value = {
            let _loading = Loading::begin(self);
            self.origin.load(&lead.k).await?
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
            turn,
        })
    }

    /// The price in Redis, if it is another than the one that is held.
    async fn copy(&self, shared: &Arc<Shared>, lead: &Lead<'_>) -> Option<Price> {
        let asked = self.env.now();
        let copy = shared.read(&lead.k).await?;
        let remaining = copy.remaining.min(self.cfg.ttl);
        let expires = asked.saturating_add(remaining);
        let is_new = lead.old.as_ref().is_none_or(|old| old.id != copy.id);
        let will_do = !lead.is_renewal || remaining > self.cfg.ttl / 2;
        (is_new && will_do && self.env.now() < expires).then_some(Price {
            value: copy.value,
            id: copy.id,
            expires,
            delta: copy.delta,
        })
    }
}

impl Lead<'_> {
    /// Keeps what has come of the load, and tells it.
    fn finish(self, brought: Result<Brought, OriginError>) -> Answer {
        let cache = self.cache;
        let now = cache.env.now();
        let mut books = lock(&cache.books);
        let is_current = books.leads.get(&self.k).is_some_and(|led| !led.outdated);
        let answer = match brought {
            Ok(brought) => {
                let value = brought.price.value.clone();
                if is_current {
                    if brought.from_origin && let Some(shared) = &cache.shared {
                        let copy = shared::Copy {
                            id: brought.price.id,
                            delta: brought.price.delta,
                            value: value.clone(),
                            remaining: brought.price.expires.saturating_sub(now),
                        };
                        shared.put(&self.k, &copy, brought.turn);
                    }
                    let content = Content::Price {
                        price: brought.price,
                        renewed: None,
                        failed_until: Duration::ZERO,
                        error: None,
                    };
                    books.insert(&self.k, content, cache.cfg.max_entries);
                }
                Ok(value)
            }
            Err(error) => {
                if is_current && !cache.cfg.error_ttl.is_zero() {
                    self.remember(&mut books, &error, now);
                }
                Err(CacheError::Origin(error))
            }
        };
        books.drop_errors(now);
        books.free(&self.k);
        drop(books);
        self.tell.send_replace(Some(answer.clone()));
        answer
    }

    fn remember(&self, books: &mut Books, load_error: &OriginError, now: Duration) {
        let cfg = &self.cache.cfg;
        let end = now.saturating_add(cfg.error_ttl);
        match books.pages.get_mut(&self.k).map(|page| &mut page.content) {
            // A renewal's error is nobody's.
            Some(Content::Price { price, .. }) if now < price.expires => {}
            Some(Content::Price {
                price,
                failed_until,
                error,
                ..
            }) if self.cache.is_servable(price, now) => {
                *failed_until = end;
                *error = Some(load_error.clone());
            }
            _ => {
                let number = books.tick();
                let content = Content::Error {
                    error: load_error.clone(),
                    until: end,
                    number,
                };
                books.insert(&self.k, content, cfg.max_entries);
            }
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut books = lock(&self.cache.books);
        // Otherwise it has been told, and the key may be another's.
        if books.leads.get(&self.k).is_some_and(|led| led.number == self.number) {
            books.free(&self.k);
            drop(books);
            if std::thread::panicking() {
                let reason = format!("the load of {} panicked", self.k);
                self.tell.send_replace(Some(Err(CacheError::Failed(reason))));
            }
        }
    }
}

impl Books {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn touch(&mut self, k: &str) {
        let used = self.tick();
        if let Some(page) = self.pages.get_mut(k)
            && let Some(k) = self.order.remove(&page.used)
        {
            page.used = used;
            self.order.insert(used, k);
        }
    }

    fn insert(&mut self, k: &Arc<str>, content: Content, most: usize) {
        self.remove(k);
        if let Content::Error { until, number, .. } = &content {
            self.errors.insert((*until, *number), k.clone());
        }
        let used = self.tick();
        self.order.insert(used, k.clone());
        self.pages.insert(k.clone(), Page { used, content });
        while self.pages.len() > most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, k: &str) {
        if let Some(page) = self.pages.remove(k) {
            self.order.remove(&page.used);
            if let Content::Error { until, number, .. } = page.content {
                self.errors.remove(&(until, number));
            }
        }
    }

    /// Forgets errors that have had their time.
    fn drop_errors(&mut self, now: Duration) {
        while let Some(first) = self.errors.first_entry()
            && first.key().0 <= now
        {
            let k = first.remove();
            self.remove(&k);
        }
    }

    fn free(&mut self, k: &str) {
        self.leads.remove(k);
        let room = self.leads.capacity();
        if room > 64 && self.leads.len() < room / 4 {
            self.leads.shrink_to(2 * self.leads.len());
        }
        let room = self.pages.capacity();
        if room > 64 && self.pages.len() < room / 4 {
            self.pages.shrink_to(2 * self.pages.len());
        }
    }
}

struct Loading<'a>(&'a AtomicUsize);

impl<'a> Loading<'a> {
    fn begin(cache: &'a PriceCache) -> Self {
        cache.loads.fetch_add(1, Ordering::Relaxed);
        cache.loading.fetch_add(1, Ordering::SeqCst);
        Loading(&cache.loading)
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
