//! A duplicate that waits for the first request, and a first request that never tells how it ended.
//!
//! Being told "in progress" is right as well; whoever waits has to look again by itself.

use std::sync::Arc;
use std::time::Duration;

use double_charge_hidden::doomed::Doomed;
use double_charge_hidden::promise::succeeded;
use double_charge_hidden::provider::Acquirer;
use double_charge_hidden::stage::{LONG, SHORT, SOON, Stage, database};
use double_charge_hidden::subject::{IdemCfg, PayError, PayResp};
use double_charge_hidden::traffic::Checkout;
use double_charge_hidden::turn::{Effect, Gate, Turn};
use harness::{Check, Failure, OrObserved, Outcome, within};
use tokio::task::JoinHandle;

/// Long enough for a slow machine to let go of the provider before it ends.
const LEASE: Duration = Duration::from_secs(2);

/// The first request's instance dies while the provider is at work.
pub async fn for_the_dead(cx: &Check, acquirer: Acquirer) -> Outcome {
    let pg = &database(cx).await?;
    let cfg = IdemCfg { lease: LEASE, ..LONG };
    let stage = Arc::new(Stage::set(cx, pg, cfg).await?);
    let checkout = Checkout::new(acquirer, &format!("waits-for-the-dead-{acquirer:?}"));
    let charging = Gate::default();
    stage.provider.script(
        checkout.order(),
        [Turn::new(Effect::Charge).request_held(&charging)],
    );
    let mut first = Doomed::start(pg, &stage.provider, cfg).await?;
    first.send(&checkout);
    within(SOON, "the charge request", charging.until_arrived(1)).await?;
    let waits = duplicate(&stage, &checkout).await?;
    first.die().await;
    charging.open();
    stage.provider.until_idle(checkout.order()).await?;
    let told = returns(waits).await?;
    stage.settles_with_one_charge(&checkout, told.as_slice()).await
}

/// The first request ends, and has no answer that could be passed on.
pub async fn for_nothing(cx: &Check, acquirer: Acquirer, effect: Effect) -> Outcome {
    let pg = &database(cx).await?;
    let cfg = IdemCfg { lease: LEASE, ..LONG };
    let stage = Arc::new(Stage::set(cx, pg, cfg).await?);
    let checkout = Checkout::new(acquirer, &format!("waits-for-nothing-{acquirer:?}-{effect:?}"));
    let charging = Gate::default();
    stage
        .provider
        .script(checkout.order(), [Turn::new(effect).request_held(&charging)]);
    let (sending, sent) = (stage.clone(), checkout.clone());
    let first = tokio::spawn(async move { sent.send(&sending.a.payments).await });
    within(SOON, "the charge request", charging.until_arrived(1)).await?;
    let waits = duplicate(&stage, &checkout).await?;
    charging.open();
    let told = [returns(first).await?, returns(waits).await?];
    stage.provider.until_idle(checkout.order()).await?;
    let told: Vec<PayResp> = told.into_iter().flatten().collect();
    stage
        .settles_with_one_charge(&checkout, &told)
        .await
        .map_err(|failure| {
            failure.evidence(format!(
                "a duplicate came while the first request was at the provider, whose turn was: {effect:?}"
            ))
        })
}

/// The first request's provider does not answer, and its lease ends. A duplicate at its own instance must not wait for
/// longer than the others.
pub async fn for_the_hung(cx: &Check) -> Outcome {
    /// Also on a starved machine well before the service's own limit for the provider lets go of the first request.
    const TOLD: Duration = Duration::from_secs(3);
    let pg = &database(cx).await?;
    let stage = Arc::new(Stage::set(cx, pg, SHORT).await?);
    let checkout = Checkout::new(Acquirer::OncePerKey, "waits-for-the-hung");
    let hung = Gate::default();
    stage
        .provider
        .script(checkout.order(), [Turn::new(Effect::Charge).request_held(&hung)]);
    let send = || {
        let (stage, checkout) = (stage.clone(), checkout.clone());
        tokio::spawn(async move { checkout.send(&stage.a.payments).await })
    };
    let first = send();
    within(SOON, "the charge request", hung.until_arrived(1)).await?;
    let waits = send();
    let insisting = checkout.insist(&stage.b.payments, SOON);
    // An attempt may show that it lives for as long as its provider lets it wait; then nobody takes over.
    let taken_over = insisting.await.is_ok();
    if taken_over {
        let answer = within(
            TOLD,
            "an answer to a duplicate at the first request's own instance",
            waits,
        );
        let answer = answer.await.map_err(|failure| {
            failure.because(
                "A duplicate waits for the call before it, on its own instance, and not for its lease: that has ended, and \
                 elsewhere the payment was made.",
            )
        })?;
        if let Ok(answer) = answer.or_observed("a payment panicked")? {
            succeeded(&answer)?;
        }
    }
    hung.open();
    within(2 * SOON, "the first request's end", first)
        .await?
        .or_observed("a payment panicked")?
        .ok();
    stage.settles_with_one_charge(&checkout, &[]).await
}

/// The same request on the other instance; when this returns, it has looked at the key.
async fn duplicate(
    stage: &Arc<Stage>,
    checkout: &Checkout,
) -> Result<JoinHandle<Result<PayResp, PayError>>, Failure> {
    let before = stage.b.tap.counts();
    let (sending, sent) = (stage.clone(), checkout.clone());
    let duplicate = tokio::spawn(async move { sent.send(&sending.b.payments).await });
    stage
        .b
        .tap
        .until("the duplicate's look at the key", SOON, |counts| {
            counts.since(&before).statements > 0
        })
        .await?;
    Ok(duplicate)
}

async fn returns(call: JoinHandle<Result<PayResp, PayError>>) -> Result<Option<PayResp>, Failure> {
    let answer = within(LEASE + SOON, "an answer to one of two equal requests", call)
        .await
        .map_err(|failure| {
            failure.because(
                "A duplicate waits to be told, and whoever would have told it has failed or died: it has to look again by \
                 itself.",
            )
        })?;
    match answer.or_observed("a payment panicked")? {
        Ok(answer) => succeeded(&answer).map(|()| Some(answer)),
        Err(PayError::InProgress { .. } | PayError::Retry { .. }) => Ok(None),
        Err(err) => Err(Failure::new(format!("a request was refused for good: {err}"))),
    }
}
