//! Where a price comes from when it is not held: from Redis if another instance has put it there, else from the origin.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::api::{CacheCfg, CacheError, Env, Origin};
use crate::shared::{Claim, Copy, POLL, Shared};

#[derive(Clone)]
pub(crate) struct Price {
    pub value: Bytes,
    pub expires: Duration,
    /// How long its load took.
    pub delta: Duration,
}

pub(crate) struct Source {
    origin: Arc<dyn Origin>,
    env: Arc<dyn Env>,
    ttl: Duration,
    shared: Option<Arc<Shared>>,
    loading: AtomicUsize,
    loads: AtomicU64,
}

impl Source {
    pub(crate) fn new(origin: Arc<dyn Origin>, env: Arc<dyn Env>, cfg: &CacheCfg) -> Source {
        Source {
            origin,
            env,
            ttl: cfg.ttl,
            shared: cfg.shared.as_ref().and_then(Shared::open).map(Arc::new),
            loading: AtomicUsize::new(0),
            loads: AtomicU64::new(0),
        }
    }

    pub(crate) fn loading(&self) -> usize {
        self.loading.load(Ordering::Relaxed)
    }

    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// Whether there is a copy beside the one that is held here.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Takes the copy of an invalidated price out of Redis, in a while. Until then it must not be read.
    pub(crate) fn forget(&self, k: &str) {
        if let Some(shared) = self.shared.clone() {
            let k = k.to_owned();
            tokio::spawn(async move { shared.forget(&k).await });
        }
    }

    /// A fresh price. `held` is the one that is being renewed early: it is returned when another instance is at it.
    /// With `bypass` the copy in Redis is not read.
    pub(crate) async fn price(
        &self,
        k: &str,
        held: Option<&Price>,
        bypass: bool,
    ) -> Result<Price, CacheError> {
        let Some(shared) = &self.shared else {
            return self.load(k).await;
        };
        // Only a copy that lives longer than the held price is news.
        let found = async || match bypass {
            true => None,
            false => {
                let copy = shared.get(k).await.map(|copy| self.copied(copy));
                copy.filter(|price| held.is_none_or(|held| price.expires > held.expires + POLL))
            }
        };
        loop {
            if let Some(price) = found().await {
                return Ok(price);
            }
            match (shared.claim(k).await, held) {
                (Claim::Mine(token), _) => {
                    // Somebody may have loaded it between the look and the claim.
                    if let Some(price) = found().await {
                        shared.finish(k, None, &token).await;
                        return Ok(price);
                    }
                    let loaded = self.load(k).await;
                    let copy = loaded.as_ref().ok();
                    let copy = copy.map(|price| Copy {
                        value: price.value.clone(),
                        remaining: self.ttl,
                        delta: price.delta,
                    });
                    shared.finish(k, copy, &token).await;
                    return loaded;
                }
                (Claim::Theirs, Some(held)) => return Ok(held.clone()),
                (Claim::Theirs, None) if !bypass => tokio::time::sleep(POLL).await,
                (Claim::Theirs | Claim::Unknown, _) => return self.load(k).await,
            }
        }
    }

    /// A copy's life began with its load, not with the look at it.
    fn copied(&self, copy: Copy) -> Price {
        Price {
            value: copy.value,
            expires: self.env.now() + copy.remaining,
            delta: copy.delta,
        }
    }

    async fn load(&self, k: &str) -> Result<Price, CacheError> {
        let begun = self.env.now();
        self.loads.fetch_add(1, Ordering::Relaxed);
        let loading = Loading::begin(&self.loading);
        let value = self.origin.load(k).await?;
        drop(loading);
        let now = self.env.now();
        Ok(Price {
            value,
            expires: now + self.ttl,
            delta: now - begun,
        })
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
