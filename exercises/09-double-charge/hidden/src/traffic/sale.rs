//! The morning of a sale, compressed: customers who pay and do not wait for long, at a provider that is slow.
//!
//! Open-loop: each customer comes when due, in a task of their own, and latency counts from then. The same seed makes
//! the same customers at the same times, and the same provider.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Checkout;
use crate::provider::{ACQUIRERS, Acquirer, Provider};
use crate::subject::Payments;
use crate::turn::{Effect, Turn};

const CUSTOMERS_PER_SECOND: f64 = 40.0;
/// How long a checkout waits for an answer before it hangs up, and before it tries again on another instance.
const PATIENCE: Duration = Duration::from_millis(400);
const PAUSE: Duration = Duration::from_millis(100);
const TRIES_MAX: usize = 20;

/// A customer who has got an answer, or has given up.
#[derive(Clone, Debug)]
pub struct Served {
    pub order: String,
    /// From when the customer was due.
    pub latency: Duration,
    pub tries: usize,
    pub ok: bool,
}

/// The customers of a sale and when each is due, counted from its beginning. Never ends.
pub fn customers(seed: u64) -> impl Iterator<Item = (Duration, Checkout)> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut due = 0.0;
    (0u64..).map(move |n| {
        // Arrivals that do not know of each other.
        due -= (1.0 - rng.f64()).ln() / CUSTOMERS_PER_SECOND;
        let acquirer: Acquirer = ACQUIRERS[rng.usize(..ACQUIRERS.len())];
        (
            Duration::from_secs_f64(due),
            Checkout::new(acquirer, &format!("{seed}-{n}")),
        )
    })
}

/// A provider on its slow day: most charges take a moment, some take longer than customers wait, a few answers are lost.
pub fn slow_day(seed: u64) -> impl Fn(&str) -> Turn + Send + Sync + 'static {
    move |order| {
        let order = order
            .bytes()
            .fold(seed, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let mut rng = fastrand::Rng::with_seed(order);
        match rng.u32(..100) {
            0..3 => Turn::new(Effect::LoseAnswer),
            3..6 => Turn::new(Effect::Busy),
            6..30 => Turn::new(Effect::Charge).after(Duration::from_millis(rng.u64(300..900))),
            _ => Turn::new(Effect::Charge).after(Duration::from_millis(rng.u64(20..80))),
        }
    }
}

/// Sends the customers who are due within `lasts`, in turns to each instance, and waits until all of them have an answer
/// or have given up. `served` hears of each.
pub async fn drive(
    instances: &[Arc<Payments>],
    provider: &Provider,
    seed: u64,
    lasts: Duration,
    served: impl Fn(Served) + Clone + Send + 'static,
) {
    provider.otherwise(slow_day(seed));
    let begun = Instant::now();
    let mut customers_there = tokio::task::JoinSet::new();
    let due_within = customers(seed).take_while(|(after, _)| *after <= lasts);
    for (n, (after, checkout)) in due_within.enumerate() {
        let due = begun + after;
        sleep_until(due).await;
        let (instances, served) = (instances.to_vec(), served.clone());
        customers_there.spawn(async move {
            let (tries, ok) = insist(&instances, n, &checkout).await;
            served(Served {
                order: checkout.order().to_owned(),
                latency: due.elapsed(),
                tries,
                ok,
            });
        });
        while customers_there.try_join_next().is_some() {}
    }
    while customers_there.join_next().await.is_some() {}
}

/// What a checkout's page does: hang up, and try again elsewhere.
async fn insist(instances: &[Arc<Payments>], first: usize, checkout: &Checkout) -> (usize, bool) {
    for tried in 0..TRIES_MAX {
        let instance = &instances[(first + tried) % instances.len()];
        if let Ok(Ok(_)) = timeout(PATIENCE, checkout.send(instance)).await {
            return (tried + 1, true);
        }
        sleep(PAUSE).await;
    }
    (TRIES_MAX, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_sale() {
        let sale = |seed| {
            let orders = customers(seed).take(2000);
            orders
                .map(|(after, checkout)| (after, checkout.key))
                .collect::<Vec<_>>()
        };
        assert_eq!(sale(7), sale(7));
        assert_ne!(sale(7), sale(8));
        let expected = 2000.0 / CUSTOMERS_PER_SECOND;
        assert!((sale(7)[1999].0.as_secs_f64() / expected - 1.0).abs() < 0.1);
    }
}
