//! An evening of `orders` with an advertisement in it, watched: `cargo xtask incident`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use harness::Failure;
use oncall::{Shift, Unit, arrivals};
use pool_exhaustion_hidden::stage::database;
use pool_exhaustion_hidden::subject::{
    BreakerCfg, Carrier, CarrierError, DbConfig, FlatRate, Orders, SystemClock,
};
use pool_exhaustion_hidden::traffic::{Ask, FLAT_CENTS, Told};

const REPLICAS: usize = 3;
/// Requests per second, of which each replica gets its share; and how many of them there are during the advertisement.
const PER_SECOND: f64 = 240.0;
const QUIET_IN_100: u32 = 25;
const ADVERTISED: std::ops::Range<Duration> = Duration::from_secs(6)..Duration::from_secs(14);
/// How long the carrier takes for a quote on its slow day.
const QUOTE: Duration = Duration::from_millis(700);

#[global_allocator]
static HEAP: oncall::Recording = oncall::Recording;

fn main() -> std::process::ExitCode {
    oncall::run(oncall::incident!(), traffic)
}

/// Slow, and right.
struct Degraded;

#[async_trait]
impl Carrier for Degraded {
    async fn quote(&self, sku: &str, quantity: i64) -> Result<i64, CarrierError> {
        tokio::time::sleep(QUOTE).await;
        FlatRate { cents: FLAT_CENTS }.quote(sku, quantity).await
    }
}

async fn traffic(shift: Shift) -> Result<(), String> {
    let replicas = replicas(&shift).await.map_err(|failure| failure.to_string())?;
    let mut number = 0_u64;
    arrivals(&shift, PER_SECOND, move |rng, after| {
        number += 1;
        let wanted = ADVERTISED.contains(&after) || rng.u32(..100) < QUIET_IN_100;
        let whose = format!("evening-{number}");
        let ask = Ask::some(rng, &whose, 1).pop().filter(|_| wanted);
        let kind = match ask {
            Some(Ask::Get(_)) => "get",
            Some(Ask::Search(..)) => "search",
            Some(Ask::Place(_)) => "place",
            None => "health",
        };
        let orders = replicas[rng.usize(..replicas.len())].clone();
        (kind, async move {
            match ask {
                Some(ask) => ask.put(&orders).await == Told::Right,
                None => true,
            }
        })
    })
    .await
}

async fn replicas(shift: &Shift) -> Result<Vec<Arc<Orders>>, Failure> {
    let pg = database(shift.check()).await?;
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        let cfg = DbConfig {
            url: pg.another_tap().await?.url(),
            via_bouncer: false,
            max_db: 6,
            queue: 30,
            queue_wait: Duration::from_secs(1),
            query_deadline: Duration::from_secs(5),
            breaker: BreakerCfg {
                failures: 5,
                open_for: Duration::from_secs(2),
            },
        };
        let orders = Orders::new(cfg, Arc::new(SystemClock)).await;
        replicas.push(Arc::new(orders.with_carrier(Arc::new(Degraded))));
    }
    let all = Arc::new(replicas.clone());
    let (in_db, queued, rejected) = (all.clone(), all.clone(), all);
    shift
        .chart("Requests by where they are, of all replicas", Unit::Count)
        .gauge(
            "orders_in_db",
            &[],
            "Requests that hold a connection",
            move || in_db.iter().map(|orders| orders.stats().in_db as f64).sum(),
        )
        .gauge("orders_queued", &[], "Requests that wait for one", move || {
            queued.iter().map(|orders| orders.stats().queued as f64).sum()
        })
        .show();
    shift
        .chart("Requests that were turned away, per second", Unit::Count)
        .counter(
            "orders_rejected",
            &[],
            "Requests that were told at once",
            move || rejected.iter().map(|orders| orders.stats().rejected as f64).sum(),
        )
        .show();
    oncall::postgres::watch(shift, &pg, |_| None);
    Ok(replicas)
}
