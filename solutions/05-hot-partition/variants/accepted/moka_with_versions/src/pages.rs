//! First pages that many readers ask for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::future::Cache;

use crate::event::Page;
use crate::log::{LogError, Result};

/// How many pages are kept at one time.
const PAGES_MAX: u64 = 64;

pub struct Pages {
    /// By customer, size and version.
    pages: Cache<(String, usize, u64), Page>,
    /// How often each customer has been written to. Only those are here that are written to through this instance.
    versions: Mutex<HashMap<String, u64>>,
}

impl Pages {
    pub fn new(ttl: Duration) -> Pages {
        Pages {
            pages: Cache::builder().max_capacity(PAGES_MAX).time_to_live(ttl).build(),
            versions: Mutex::default(),
        }
    }

    pub async fn get<F>(&self, customer: &str, limit: usize, load: impl FnOnce() -> F) -> Result<Page>
    where
        F: Future<Output = Result<Page>>,
    {
        let version = {
            let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            versions.get(customer).copied().unwrap_or(0)
        };
        let key = (customer.to_owned(), limit, version);
        let page = self.pages.try_get_with(key, load()).await;
        page.map_err(|error: Arc<LogError>| error.as_ref().clone())
    }

    /// To be called once a write is done and before it is acknowledged.
    pub fn forget(&self, customer: &str) {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        *versions.entry(customer.to_owned()).or_default() += 1;
    }
}
