//! What the nightly job may forget.

use std::sync::Arc;
use std::time::Duration;

use double_charge_hidden::promise::succeeded;
use double_charge_hidden::provider::Acquirer;
use double_charge_hidden::stage::{LONG, SHORT, SOON, Stage, database};
use double_charge_hidden::subject::{PayError, PayReq};
use double_charge_hidden::traffic::Checkout;
use double_charge_hidden::turn::{Effect, Gate, Turn};
use harness::{Check, OrObserved, Outcome, ensure, within};
use time::OffsetDateTime;

const HOUR: Duration = Duration::from_secs(60 * 60);

pub async fn purge(cx: &Check) -> Outcome {
    tokio::try_join!(by_state(cx), by_end(cx)).map(drop)
}

/// A payment that began before the cut and ended after it.
async fn by_end(cx: &Check) -> Outcome {
    /// Further apart than two clocks.
    const APART: Duration = Duration::from_millis(500);
    let pg = database(cx).await?;
    let stage = Arc::new(Stage::set(cx, &pg, LONG).await?);
    let checkout = Checkout::new(Acquirer::EveryRequest, "began-earlier");
    let charging = Gate::default();
    stage.provider.script(
        checkout.order(),
        [Turn::new(Effect::Charge).request_held(&charging)],
    );
    let (attempt, sent) = (stage.clone(), checkout.clone());
    let attempt = tokio::spawn(async move { sent.send(&attempt.a.payments).await });
    within(SOON, "the charge request", charging.until_arrived(1)).await?;
    tokio::time::sleep(APART).await;
    let cut = OffsetDateTime::now_utc();
    tokio::time::sleep(APART).await;
    charging.open();
    let paid = within(SOON, "the payment's answer", attempt)
        .await?
        .or_observed("the payment panicked")?
        .or_observed("a payment failed")?;
    purged(&stage, cut + LONG.retention).await?;
    stage
        .settles_with_one_charge(&checkout, &[paid])
        .await
        .map_err(|failure| {
            failure
                .because("Retention counts from the end of a payment, not from its first request.")
                .evidence("the payment began before the retention's cut, and was finished after it")
        })
}

/// Payments in every state.
async fn by_state(cx: &Check) -> Outcome {
    let pg = database(cx).await?;
    let stage = Arc::new(Stage::set(cx, &pg, SHORT).await?);
    let [finished, running, lost] =
        ["finished", "running", "lost"].map(|name| Checkout::new(Acquirer::EveryRequest, name));
    let charging = Gate::default();
    stage.provider.script(
        running.order(),
        [Turn::new(Effect::Charge).answer_held(&charging)],
    );
    stage
        .provider
        .script(lost.order(), [Turn::new(Effect::LoseAnswer)]);

    let paid = within(SOON, "a payment", finished.send(&stage.a.payments)).await?;
    let paid = paid.or_observed("a payment failed")?;
    succeeded(&paid)?;
    let told = within(SOON, "an answer", lost.send(&stage.a.payments)).await?;
    let (attempt, sent) = (stage.clone(), running.clone());
    let attempt = tokio::spawn(async move { sent.send(&attempt.a.payments).await });
    within(SOON, "the charge request", charging.until_arrived(1)).await?;

    purged(&stage, OffsetDateTime::now_utc() + HOUR).await?;
    let remembered = stage.settles_with_one_charge(&finished, &[paid]).await;
    remembered.map_err(|failure| {
        failure.because("A finished payment's key is remembered for as long as its retention says.")
    })?;

    let removed = purged(&stage, OffsetDateTime::now_utc() + 25 * HOUR).await?;
    ensure!(
        removed > 0,
        "What is past its retention has to go, or the table grows for ever.",
        "purge removed nothing, an hour after the retention of a finished payment"
    );
    let request = PayReq {
        order_id: "order-finished-anew".to_owned(),
        ..finished.request.clone()
    };
    let anew = Checkout { request, ..finished };
    let answer = within(SOON, "an answer", anew.send(&stage.b.payments)).await?;
    ensure!(
        !matches!(answer, Err(PayError::KeyReuse { .. })),
        "What is past its retention has to go, or the table grows for ever.",
        "a key was still known an hour after its retention"
    );

    let because = "A key was forgotten before its payment had ended, however old it looked: the next request charged as \
                   if it were the first.";
    charging.open();
    let first = within(SOON, "the running payment's answer", attempt)
        .await?
        .or_observed("the payment panicked")?;
    stage.provider.until_idle(running.order()).await?;
    for (checkout, told) in [(&running, first), (&lost, told)] {
        let told: Vec<_> = told.into_iter().collect();
        stage
            .settles_with_one_charge(checkout, &told)
            .await
            .map_err(|failure| match stage.charged_once(checkout) {
                Err(_) => failure.because(because),
                Ok(()) => failure,
            })?;
    }
    Ok(())
}

async fn purged(stage: &Stage, now: OffsetDateTime) -> Result<u64, harness::Failure> {
    within(SOON, "purge", stage.b.payments.purge(now))
        .await?
        .or_observed("purge failed")
}
