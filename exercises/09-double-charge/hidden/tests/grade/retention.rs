//! What the nightly job may forget.

use std::sync::Arc;
use std::time::Duration;

use double_charge_hidden::promise::succeeded;
use double_charge_hidden::provider::Acquirer;
use double_charge_hidden::stage::{SHORT, SOON, Stage, database};
use double_charge_hidden::subject::{PayError, PayReq};
use double_charge_hidden::traffic::Checkout;
use double_charge_hidden::turn::{Effect, Gate, Turn};
use harness::{Check, OrObserved, Outcome, ensure, within};
use time::OffsetDateTime;

const HOUR: Duration = Duration::from_secs(60 * 60);

pub async fn purge(cx: &Check) -> Outcome {
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
