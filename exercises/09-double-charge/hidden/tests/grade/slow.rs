//! A provider that takes its time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use double_charge_hidden::instance::POOL;
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
    let held = least_held(&stage.a.pool).await;
    cx.measure("connections_held_while_charging", f64::from(held));
    cx.explain(
        "connections_held_while_charging",
        because,
        [format!(
            "{held} of {POOL} connections stay out of the pool while {PAYMENTS} charges are under way"
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

/// Connections that stay out of the pool. They come back a moment after their last use, on a task of the pool's.
async fn least_held(pool: &sqlx::PgPool) -> u32 {
    let begun = Instant::now();
    let mut least = u32::MAX;
    while least > 0 && begun.elapsed() < Duration::from_secs(1) {
        least = least.min(pool.size().saturating_sub(pool.num_idle() as u32));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    least
}
