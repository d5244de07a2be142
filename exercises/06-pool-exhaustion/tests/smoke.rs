// What the service was shipped with: one replica, one customer, a database with nothing else to do.

use std::sync::Arc;
use std::time::Duration;

use pool_exhaustion::{
    BreakerCfg, BreakerState, DbConfig, NewOrder, Order, OrderError, OrderId, Orders, Search, SearchBy,
    SystemClock,
};

const SCHEMA: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/0001_orders.sql"));

async fn replica(db: &services::testing::Database) -> Orders {
    let cfg = DbConfig {
        url: db.url(),
        via_bouncer: false,
        max_db: 4,
        queue: 16,
        queue_wait: Duration::from_secs(5),
        query_deadline: Duration::from_secs(10),
        breaker: BreakerCfg {
            failures: 5,
            open_for: Duration::from_secs(10),
        },
    };
    Orders::new(cfg, Arc::new(SystemClock)).await
}

fn tea(reference: &str) -> NewOrder {
    NewOrder {
        reference: reference.to_owned(),
        customer: "harbour-tea".to_owned(),
        sku: "sencha-100".to_owned(),
        quantity: 3,
        unit_cents: 1_250,
    }
}

fn placed(id: OrderId, order: &NewOrder) -> Order {
    Order {
        id: id.0,
        reference: order.reference.clone(),
        customer: order.customer.clone(),
        sku: order.sku.clone(),
        quantity: order.quantity,
        total_cents: order.quantity * order.unit_cents + 490,
    }
}

fn by(by: SearchBy, value: &str) -> Search {
    Search {
        by,
        value: value.to_owned(),
        limit: 10,
    }
}

#[tokio::test]
async fn an_order_is_placed_and_found() {
    let db = services::testing::postgres_with(SCHEMA);
    let orders = replica(&db).await;
    let (first, second) = (tea("web-1"), tea("web-2"));
    let first_id = orders.place(first.clone()).await.unwrap();
    let second_id = orders.place(second.clone()).await.unwrap();
    assert_eq!(orders.get(first_id).await, Ok(placed(first_id, &first)));

    let both = vec![placed(second_id, &second), placed(first_id, &first)];
    assert_eq!(
        orders.search(by(SearchBy::Customer, "harbour-tea")).await,
        Ok(both.clone())
    );
    assert_eq!(
        orders.search(by(SearchBy::Sku, "sencha-100")).await,
        Ok(both.clone())
    );
    assert_eq!(
        orders.search(by(SearchBy::Reference, "web-2")).await,
        Ok(vec![both[0].clone()])
    );
    assert_eq!(orders.search(by(SearchBy::Customer, "nobody")).await, Ok(vec![]));
}

#[tokio::test]
async fn a_reference_is_used_once() {
    let db = services::testing::postgres_with(SCHEMA);
    let orders = replica(&db).await;
    orders.place(tea("web-1")).await.unwrap();
    assert_eq!(orders.place(tea("web-1")).await, Err(OrderError::Conflict));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let db = services::testing::postgres_with(SCHEMA);
    let orders = replica(&db).await;
    assert_eq!(orders.get(OrderId(1)).await, Err(OrderError::NotFound));
}

#[tokio::test]
async fn nonsense_is_refused() {
    let db = services::testing::postgres_with(SCHEMA);
    let orders = replica(&db).await;
    let nothing = NewOrder {
        quantity: 0,
        ..tea("web-1")
    };
    let refused = orders.place(nothing).await;
    assert!(matches!(refused, Err(OrderError::Invalid(_))), "{refused:?}");
    let all = Search {
        limit: 1_000_000,
        ..by(SearchBy::Sku, "sencha-100")
    };
    let refused = orders.search(all).await;
    assert!(matches!(refused, Err(OrderError::Invalid(_))), "{refused:?}");
}

#[tokio::test]
async fn orders_at_once_are_all_placed() {
    let db = services::testing::postgres_with(SCHEMA);
    let orders = Arc::new(replica(&db).await);
    let placing: Vec<_> = (0..8)
        .map(|n| {
            let orders = orders.clone();
            tokio::spawn(async move { orders.place(tea(&format!("web-{n}"))).await })
        })
        .collect();
    for placed in placing {
        assert!(placed.await.unwrap().is_ok());
    }
    let stats = orders.stats();
    assert_eq!((stats.in_db, stats.queued, stats.rejected), (0, 0, 0));
    assert_eq!(stats.breaker_state, BreakerState::Closed);
}
