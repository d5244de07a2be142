// What the service was shipped with: a few customers, one instance, a table that does what it is asked.

use std::collections::HashSet;
use std::time::Duration;

use hot_partition_solution::{Event, EventLog, LogConfig, PartStore, Patch};
use uuid::Uuid;

/// A log on a table of its own.
async fn log(table: &str) -> EventLog {
    let store = PartStore::connect(&services::testing::dynamodb(), table);
    store.create_table().await.unwrap();
    let cfg = LogConfig {
        shards: 8,
        cache_ttl: Duration::from_secs(1),
        hot: HashSet::from(["BIGCORP".to_owned()]),
    };
    EventLog::new(store, cfg)
}

/// The `n`-th event of the day.
fn event(n: u64) -> Event {
    let ms = u128::from(1_732_871_520_000 + n);
    Event {
        id: Uuid::from_u128((ms << 80) | (7 << 76) | (2 << 62) | u128::from(n * 7_919)),
        kind: "order.placed".to_owned(),
        body: format!("{{\"order\":{n}}}"),
    }
}

#[tokio::test]
async fn the_newest_events_come_first() {
    let log = log("newest").await;
    for customer in ["corner-shop", "BIGCORP"] {
        for n in 0..10 {
            log.append(customer, event(n)).await.unwrap();
        }
        let page = log.recent(customer, 3, None).await.unwrap();
        assert_eq!(page.events, [event(9), event(8), event(7)]);
        assert_eq!(page.events[0].ts(), 1_732_871_520_009);
    }
}

#[tokio::test]
async fn pages_follow_each_other() {
    let log = log("pages").await;
    for n in 0..5 {
        log.append("corner-shop", event(n)).await.unwrap();
    }
    let first = log.recent("corner-shop", 3, None).await.unwrap();
    let second = log.recent("corner-shop", 3, first.next).await.unwrap();
    assert_eq!(second.events, [event(1), event(0)]);
    assert_eq!(second.next, None);
}

#[tokio::test]
async fn an_event_is_found_by_its_id() {
    let log = log("found").await;
    log.append("BIGCORP", event(1)).await.unwrap();
    assert_eq!(log.get("BIGCORP", event(1).id).await, Ok(Some(event(1))));
    assert_eq!(log.get("BIGCORP", event(2).id).await, Ok(None));
    assert_eq!(log.get("corner-shop", event(1).id).await, Ok(None));
}

#[tokio::test]
async fn an_event_is_corrected() {
    let log = log("corrected").await;
    log.append("corner-shop", event(1)).await.unwrap();
    let patch = Patch {
        body: "void".to_owned(),
    };
    assert_eq!(
        log.amend("corner-shop", event(1).id, patch.clone()).await,
        Ok(true)
    );
    assert_eq!(log.amend("corner-shop", event(2).id, patch).await, Ok(false));
    let found = log.get("corner-shop", event(1).id).await.unwrap();
    assert_eq!(found.map(|event| event.body).as_deref(), Some("void"));
}

#[tokio::test]
async fn events_are_counted_once() {
    let log = log("counted").await;
    for n in [1, 2, 2, 3] {
        log.append("BIGCORP", event(n)).await.unwrap();
    }
    assert_eq!(log.total("BIGCORP").await, Ok(3));
    assert_eq!(log.total("corner-shop").await, Ok(0));
}
