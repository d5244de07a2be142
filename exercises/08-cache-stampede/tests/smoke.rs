// What the service was shipped with: one page at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cache_stampede::{
    CacheCfg, CacheError, Origin, OriginError, PriceCache, SystemEnv, should_refresh_early,
};

/// Answers with the number of the load; knows nothing of keys that begin with "no".
#[derive(Default)]
struct Database {
    loads: AtomicUsize,
}

#[async_trait]
impl Origin for Database {
    async fn load(&self, k: &str) -> Result<Bytes, OriginError> {
        let n = self.loads.fetch_add(1, Ordering::Relaxed) + 1;
        if k.starts_with("no") {
            return Err(OriginError(format!("{k} is unknown")));
        }
        Ok(Bytes::from(format!("{k}: {n}")))
    }
}

fn cache(cfg: CacheCfg) -> (Arc<Database>, PriceCache) {
    let database = Arc::new(Database::default());
    let cache = PriceCache::new(database.clone(), Arc::new(SystemEnv::default()), cfg);
    (database, cache)
}

#[tokio::test]
async fn a_price_is_loaded_once_and_then_held() {
    let (database, cache) = cache(CacheCfg::default());
    for _ in 0..3 {
        assert_eq!(cache.get("a").await.unwrap(), "a: 1");
    }
    assert_eq!(cache.get("b").await.unwrap(), "b: 2");
    assert_eq!(database.loads.load(Ordering::Relaxed), 2);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.loading), (2, 0));
}

#[tokio::test]
async fn a_price_expires() {
    let (_, cache) = cache(CacheCfg {
        ttl: Duration::from_millis(100),
        ..CacheCfg::default()
    });
    assert_eq!(cache.get("a").await.unwrap(), "a: 1");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(cache.get("a").await.unwrap(), "a: 2");
}

#[tokio::test]
async fn an_invalidated_price_is_loaded_again() {
    let (_, cache) = cache(CacheCfg::default());
    assert_eq!(cache.get("a").await.unwrap(), "a: 1");
    cache.invalidate("a");
    assert_eq!(cache.get("a").await.unwrap(), "a: 2");
}

#[tokio::test]
async fn an_unknown_price_is_an_error() {
    let (_, cache) = cache(CacheCfg::default());
    let answer = cache.get("nothing").await;
    assert_eq!(
        answer,
        Err(CacheError::Origin(OriginError("nothing is unknown".to_owned())))
    );
}

#[tokio::test]
async fn a_full_cache_still_answers() {
    let (_, cache) = cache(CacheCfg {
        max_entries: 10,
        ..CacheCfg::default()
    });
    for n in 0..100 {
        let k = format!("sku-{n}");
        assert!(cache.get(&k).await.unwrap().starts_with(k.as_bytes()));
    }
}

#[test]
fn a_price_about_to_expire_is_renewed() {
    let [second, minute] = [1, 60].map(Duration::from_secs);
    assert!(should_refresh_early(second, 2 * second, 1.0, 0.5));
    assert!(!should_refresh_early(minute, 2 * second, 1.0, 0.5));
}
