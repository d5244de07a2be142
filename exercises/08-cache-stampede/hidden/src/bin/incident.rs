//! An evening of `pricecache`, watched: `cargo xtask incident`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cache_stampede_hidden::subject::{CacheCfg, Origin, OriginError, PriceCache, SystemEnv, Url};
use harness::{Failure, OrObserved};
use oncall::{Shift, Unit, arrivals};
use tokio::sync::Semaphore;

/// Requests per second, and the prices that they are for: most want the few that everybody wants.
const PER_SECOND: f64 = 600.0;
const PRICES: usize = 200;
const HOT_IN_100: u32 = 80;
const HOT: usize = 5;
/// A quarter of an hour in short.
const TTL: Duration = Duration::from_secs(8);
const INSTANCES: usize = 2;
/// What the pricing database has: connections, and the time that a query takes one for.
const CONNECTIONS: usize = 40;
const QUERY: Duration = Duration::from_millis(300);

#[global_allocator]
static HEAP: oncall::Recording = oncall::Recording;

fn main() -> std::process::ExitCode {
    oncall::run(oncall::incident!(), traffic)
}

/// The pricing database: a query waits for a connection, and then takes its time.
struct Database {
    connections: Semaphore,
    waiting: AtomicUsize,
}

#[async_trait]
impl Origin for Database {
    async fn load(&self, k: &str) -> Result<Bytes, OriginError> {
        self.waiting.fetch_add(1, Relaxed);
        let connection = self.connections.acquire().await;
        self.waiting.fetch_sub(1, Relaxed);
        let _connection = connection.map_err(|error| OriginError(error.to_string()))?;
        tokio::time::sleep(QUERY).await;
        Ok(Bytes::from(format!("price of {k}")))
    }
}

async fn traffic(shift: Shift) -> Result<(), String> {
    let caches = caches(&shift).await.map_err(|failure| failure.to_string())?;
    arrivals(&shift, PER_SECOND, move |rng, _| {
        let price = match rng.u32(..100) {
            0..HOT_IN_100 => rng.usize(..HOT),
            _ => rng.usize(..PRICES),
        };
        let cache = caches[rng.usize(..caches.len())].clone();
        ("price", async move {
            cache.get(&format!("sku-{price}")).await.is_ok()
        })
    })
    .await
}

async fn caches(shift: &Shift) -> Result<Vec<Arc<PriceCache>>, Failure> {
    let redis = shift.check().redis().await?;
    let database = Arc::new(Database {
        connections: Semaphore::new(CONNECTIONS),
        waiting: AtomicUsize::new(0),
    });
    let mut caches = Vec::new();
    for _ in 0..INSTANCES {
        let url = Url::parse(&redis.another_tap()?.url()).or_observed("the address of Redis")?;
        let cfg = CacheCfg {
            ttl: TTL,
            shared: Some(url),
            ..CacheCfg::default()
        };
        let cache = PriceCache::new(database.clone(), Arc::new(SystemEnv::default()), cfg);
        caches.push(Arc::new(cache));
    }
    let all = Arc::new(caches.clone());
    let (loads, loading) = (all.clone(), all);
    let queue = database.clone();
    shift
        .chart("Calls to the pricing database per second", Unit::Count)
        .counter(
            "pricecache_loads",
            &[],
            "Calls to the database since the start",
            move || loads.iter().map(|cache| cache.stats().loads as f64).sum(),
        )
        .show();
    shift
        .chart("At the pricing database", Unit::Count)
        .gauge("pricecache_loading", &[], "Calls that are under way", move || {
            loading.iter().map(|cache| cache.stats().loading as f64).sum()
        })
        .gauge(
            "pricing_db_queue_length",
            &[],
            "Queries that wait for a connection",
            move || queue.waiting.load(Relaxed) as f64,
        )
        .show();
    oncall::redis::watch(shift, &redis);
    Ok(caches)
}
