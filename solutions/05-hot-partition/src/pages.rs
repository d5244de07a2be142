//! First pages that many readers ask for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use crate::event::Page;
use crate::log::Result;

/// Customers and sizes of pages that are remembered at one time.
const PAGES_MAX: usize = 64;

#[derive(Debug)]
pub struct Pages {
    ttl: Duration,
    known: Mutex<HashMap<(String, usize), Shared>>,
}

#[derive(Clone, Debug)]
struct Shared {
    /// When reading began.
    begun: Instant,
    /// Filled by the first who asks, while the others wait. Whoever writes takes it out of the map: those who wait have
    /// asked before the write ended and may have it, and nobody else comes by it.
    page: Arc<OnceCell<Page>>,
}

impl Pages {
    pub fn new(ttl: Duration) -> Pages {
        let known = Mutex::default();
        Pages { ttl, known }
    }

    pub async fn get<F>(&self, customer: &str, limit: usize, load: impl FnOnce() -> F) -> Result<Page>
    where
        F: Future<Output = Result<Page>>,
    {
        let page = self.shared(customer, limit).page;
        page.get_or_try_init(load).await.cloned()
    }

    /// To be called once a write is done and before it is acknowledged.
    pub fn forget(&self, customer: &str) {
        self.known().retain(|(of, _), _| of != customer);
    }

    fn shared(&self, customer: &str, limit: usize) -> Shared {
        let key = (customer.to_owned(), limit);
        let mut known = self.known();
        let fresh = |shared: &Shared| shared.begun.elapsed() < self.ttl;
        if let Some(shared) = known.get(&key).filter(|shared| fresh(shared)) {
            return shared.clone();
        }
        known.retain(|_, shared| fresh(shared));
        if known.len() >= PAGES_MAX {
            known.clear();
        }
        let shared = Shared {
            begun: Instant::now(),
            page: Arc::default(),
        };
        known.insert(key, shared.clone());
        shared
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(String, usize), Shared>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
