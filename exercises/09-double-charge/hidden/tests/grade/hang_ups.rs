//! A customer hangs up, and the instance goes on as if nothing had been.

use std::sync::Arc;

use double_charge_hidden::provider::{ACQUIRERS, Acquirer};
use double_charge_hidden::stage::{SHORT, SOON, Stage, database};
use double_charge_hidden::traffic::Checkout;
use double_charge_hidden::turn::{Effect, Gate, Turn};
use harness::{Check, Outcome, within};
use tokio::task::JoinSet;

pub async fn while_charging(cx: &Check) -> Outcome {
    let pg = database(cx).await?;
    let stage = Arc::new(Stage::set(cx, &pg, SHORT).await?);
    let mut running = JoinSet::new();
    for acquirer in ACQUIRERS {
        for charged in [false, true] {
            running.spawn(hangs_up(stage.clone(), acquirer, charged));
        }
    }
    running.join_all().await.into_iter().collect()
}

/// Hangs up before or after the money is taken; the provider goes on either way. Both instances live on, and the one
/// that was called is asked first.
async fn hangs_up(stage: Arc<Stage>, acquirer: Acquirer, charged: bool) -> Outcome {
    let checkout = Checkout::new(acquirer, &format!("hangs-up-{acquirer:?}-{charged}"));
    let held = Gate::default();
    let turn = Turn::new(Effect::Charge);
    let turn = match charged {
        true => turn.answer_held(&held),
        false => turn.request_held(&held),
    };
    stage.provider.script(checkout.order(), [turn]);
    let (sending, sent) = (stage.clone(), checkout.clone());
    let call = tokio::spawn(async move { sent.send(&sending.a.payments).await });
    within(SOON, "the charge request", held.until_arrived(1)).await?;
    call.abort();
    // Whatever the call owned has been dropped once this returns.
    call.await.ok();
    held.open();
    stage.provider.until_idle(checkout.order()).await?;
    let instances = [&stage.a.payments, &stage.b.payments];
    let settled =
        double_charge_hidden::promise::settles_with_one_charge(&stage.provider, &instances, &checkout, &[]);
    settled.await.map_err(|failure| {
        failure.evidence(match charged {
            true => "the customer hung up after the charge, and the instance lived on",
            false => "the customer hung up while the provider was at work, and the instance lived on",
        })
    })
}
