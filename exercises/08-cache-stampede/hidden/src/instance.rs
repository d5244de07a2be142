//! One instance of the service that shares a Redis with others: its own tap, and a machine of its own, so that it can
//! crash.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use harness::redis::{Redis, RedisTap};
use harness::{Failure, Machine, OrObserved, within};

use crate::desk::{Desk, SOON};
use crate::env::{NEVER, Real};
use crate::subject::{CacheCfg, PriceCache, Url};
use crate::traffic::{Answer, Herd};

/// Liveness.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long Redis, or another instance, may have a caller wait: five seconds, and two for everything else. What waits
/// with it grants more to a starved machine.
pub const HELD_UP_MAX: Duration = Duration::from_secs(7);

pub struct Instance {
    pub tap: Arc<RedisTap>,
    pub cache: Arc<PriceCache>,
    machine: Machine,
}

/// A tap's address, as the configuration wants it.
pub fn address(tap: &RedisTap) -> Result<Url, Failure> {
    Url::parse(&tap.url()).map_err(|err| Failure::environment(format!("the tap has no address: {err}")))
}

impl Instance {
    pub async fn start(redis: &Redis, desk: &Desk) -> Result<Instance, Failure> {
        Instance::with(redis, desk, CacheCfg::default()).await
    }

    pub async fn with(redis: &Redis, desk: &Desk, cfg: CacheCfg) -> Result<Instance, Failure> {
        let tap = redis.another_tap()?;
        let machine = Machine::start()?;
        let cfg = CacheCfg {
            shared: Some(address(&tap)?),
            ..cfg
        };
        let door = desk.door();
        let making = machine.run(async move { PriceCache::new(door, Real::with(NEVER), cfg) });
        let cache = making.await.or_observed("PriceCache::new panicked")?;
        Ok(Instance {
            tap,
            cache: Arc::new(cache),
            machine,
        })
    }

    /// Many callers, on this instance's machine.
    pub async fn herd(&self, n: usize, k: &str) -> Result<Herd, Failure> {
        let (cache, k) = (self.cache.clone(), k.to_owned());
        let herd = self.machine.run(async move { Herd::of(n, &cache, &k) });
        herd.await.or_observed("a caller panicked")
    }

    /// One answer, which Redis may hold up.
    pub async fn ask(&self, k: &str) -> Result<Answer, Failure> {
        let (cache, key) = (self.cache.clone(), k.to_owned());
        let answer = self.machine.run(async move { cache.get(&key).await });
        within(HELD_UP_MAX, &format!("an answer for {k}"), answer)
            .await?
            .or_observed("get panicked")
    }

    /// One price.
    pub async fn price(&self, k: &str) -> Result<Bytes, Failure> {
        self.ask(k).await?.or_observed(format!("get of {k} failed"))
    }

    pub async fn invalidate(&self, k: &str) -> Result<(), Failure> {
        let (cache, k) = (self.cache.clone(), k.to_owned());
        let done = self.machine.run(async move { cache.invalidate(&k) });
        within(SOON, "invalidate", done)
            .await?
            .or_observed("invalidate panicked")
    }

    /// The machine goes down with all that runs on it.
    pub async fn crash(self) {
        drop(self.cache);
        self.machine.stop().await;
    }
}
