//! An evening of `orders` with an advertisement in it, watched: `cargo xtask incident`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use harness::Failure;
use oncall::{Shift, Unit, arrivals};
use pool_exhaustion_hidden::pooler::Pooler;
use pool_exhaustion_hidden::subject::{
    BreakerCfg, Carrier, CarrierError, DbConfig, FlatRate, Orders, SystemClock,
};
use pool_exhaustion_hidden::traffic::{Ask, FLAT_CENTS, Told};

/// The last of them is the one whose trial goes through PgBouncer.
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
    let pooler = Pooler::start(shift.check())
        .await
        .map_err(|failure| failure.to_string())?;
    let replicas = replicas(&shift, &pooler)
        .await
        .map_err(|failure| failure.to_string())?;
    let wrong = Arc::new(AtomicU64::new(0));
    let complaints = wrong.clone();
    shift
        .chart("Answers with orders of other shops, per second", Unit::Count)
        .counter(
            "support_wrong_answers",
            &[],
            "Answers that are not those of the shop's own orders",
            move || complaints.load(Relaxed) as f64,
        )
        .show();
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
        let wrong = wrong.clone();
        (kind, async move {
            let Some(ask) = ask else { return true };
            let told = ask.put(&orders).await;
            wrong.fetch_add(u64::from(matches!(told, Told::Wrong(_))), Relaxed);
            told == Told::Right
        })
    })
    .await
}

async fn replicas(shift: &Shift, pooler: &Pooler) -> Result<Vec<Arc<Orders>>, Failure> {
    let pg = &pooler.pg;
    let mut replicas = Vec::new();
    for number in 1..=REPLICAS {
        let via_bouncer = number == REPLICAS;
        let url = match via_bouncer {
            true => pooler.url(),
            false => pg.another_tap().await?.url(),
        };
        let cfg = DbConfig {
            url,
            via_bouncer,
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
    oncall::postgres::watch(shift, pg, |_| None);
    oncall::pgbouncer::watch(shift, pooler.console());
    Ok(replicas)
}
