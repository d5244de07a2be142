//! A provider that takes its time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use double_charge_hidden::instance::{Instance, POOL};
use double_charge_hidden::promise::succeeded;
use double_charge_hidden::provider::Acquirer;
use double_charge_hidden::stage::{LONG, SOON, Stage, database};
use double_charge_hidden::traffic::Checkout;
use double_charge_hidden::turn::{Effect, Gate, Turn};
use harness::{Check, OrObserved, Outcome, within};
use tokio::task::JoinSet;

/// Twice the instance's connections.
const PAYMENTS: usize = 2 * POOL as usize;

pub async fn provider(cx: &Check) -> Outcome {
    let pg = database(cx).await?;
    let stage = Arc::new(Stage::set(cx, &pg, LONG).await?);
    let slow = Gate::default();
    let mut paying = JoinSet::new();
    for n in 0..PAYMENTS {
        let checkout = Checkout::new(Acquirer::EveryRequest, &format!("slow-{n}"));
        stage
            .provider
            .script(checkout.order(), [Turn::new(Effect::Charge).request_held(&slow)]);
        let stage = stage.clone();
        paying.spawn(async move { (checkout.send(&stage.a.payments).await, checkout) });
    }
    let because = "A connection or a transaction is held while the provider is asked: a slow provider is an exhausted \
                   pool.";
    within(
        SOON,
        "every payment reached the provider",
        slow.until_arrived(PAYMENTS),
    )
    .await
    .map_err(|failure| {
        let arrived = slow.arrived();
        failure.because(because).evidence(format!(
            "{arrived} of {PAYMENTS} payments got there with {POOL} connections"
        ))
    })?;
    let unrelated = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM pg_class").fetch_one(&stage.a.pool);
    let unrelated = within(SOON, "an unrelated query", unrelated)
        .await
        .map_err(|failure| failure.because(because))?;
    unrelated.or_observed("an unrelated query failed")?;
    let held = least_held(&stage.a).await;
    cx.measure("connections_held_while_charging", held as f64);
    cx.explain(
        "connections_held_while_charging",
        because,
        [format!(
            "{held} connections stay out of the pool of {POOL}, or beside it, while {PAYMENTS} charges are under way"
        )],
    );

    slow.open();
    while let Some(paid) = paying.join_next().await {
        let (paid, checkout) = paid.or_observed("a payment panicked")?;
        succeeded(&paid.or_observed("a payment failed while the provider was slow")?)?;
        stage.charged_once(&checkout)?;
    }
    Ok(())
}

/// Connections that stay out of the pool, or were opened beside it. They come back a moment after their last use, on a
/// task of the pool's.
async fn least_held(instance: &Instance) -> u64 {
    let begun = Instant::now();
    let mut least = u64::MAX;
    while least > 0 && begun.elapsed() < Duration::from_secs(1) {
        let Instance { pool, tap, .. } = instance;
        let counts = tap.counts();
        let out = u64::from(pool.size()).saturating_sub(pool.num_idle() as u64);
        let beside = counts.connections_open.saturating_sub(u64::from(POOL));
        least = least.min(out.max(counts.transactions_open) + beside);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    least
}
