//! One payment, and the same request again.

use std::time::Duration;

use double_charge_hidden::instance::median;
use double_charge_hidden::promise::{shown, succeeded};
use double_charge_hidden::provider::{ACQUIRERS, Acquirer};
use double_charge_hidden::stage::{LONG, SOON, Stage, database};
use double_charge_hidden::traffic::Checkout;
use double_charge_hidden::turn::{Effect, Turn};
use harness::{Check, OrObserved, Outcome, ensure, within};

const PAYMENTS: usize = 5;

pub async fn repeated(cx: &Check) -> Outcome {
    let pg = database(cx).await?;
    let stage = Stage::set(cx, &pg, LONG).await?;
    let mut paid = Vec::new();
    for n in 0..PAYMENTS {
        let checkout = Checkout::new(Acquirer::EveryRequest, &format!("repeated-{n}"));
        let first = within(SOON, "an undisturbed payment", checkout.send(&stage.a.payments)).await?;
        let first = first.or_observed("an undisturbed payment failed")?;
        succeeded(&first)?;
        ensure!(
            !first.replayed,
            "A merchant tells by `replayed` whether this call did the work.",
            "a first request was answered with replayed = true"
        );
        paid.push((checkout, first));
    }
    let calls = stage.provider.book().calls();
    // Clocks are among the things that a rebuilt answer shows, and some show seconds.
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    let mut statements = Vec::new();
    for (checkout, first) in &paid {
        let before = [&stage.a, &stage.b].map(|instance| instance.tap.statements().len());
        stage.replays(checkout, first).await?;
        stage.charged_once(checkout)?;
        stage.names_its_charge(checkout, first)?;
        statements.push(stage.a.statements_after(before[0]));
        statements.push(stage.b.statements_after(before[1]));
    }
    let median = median(&mut statements);
    cx.measure("statements_per_replay", median.len() as f64);
    cx.explain(
        "statements_per_replay",
        "Whether a key is finished, and with what answer, is one row.",
        median,
    );
    let calls = stage.provider.book().calls() - calls;
    cx.measure("provider_calls_per_replay", calls as f64 / (2 * PAYMENTS) as f64);
    cx.explain(
        "provider_calls_per_replay",
        "What the provider said is on record, and a replay must not depend on a provider that is slow or away.",
        [format!("{calls} requests to the provider for {} replays", 2 * PAYMENTS)],
    );
    Ok(())
}

pub async fn declined(cx: &Check) -> Outcome {
    let pg = database(cx).await?;
    let stage = Stage::set(cx, &pg, LONG).await?;
    for acquirer in ACQUIRERS {
        let checkout = Checkout::new(acquirer, &format!("declined-{acquirer:?}"));
        // A moment later the same card would go through.
        stage
            .provider
            .script(checkout.order(), [Turn::new(Effect::Decline)]);
        let first = within(
            SOON,
            "the answer to a declined payment",
            checkout.send(&stage.a.payments),
        )
        .await?;
        let first = first.or_observed("a declined payment got no answer but an error")?;
        ensure!(
            (400..500).contains(&first.status),
            "A declined card is an answer, and no success.",
            "the provider declined, and the answer is {}",
            shown(&first)
        );
        stage.replays(&checkout, &first).await.map_err(|failure| {
            failure.because("A decline is a final answer like any other: it has to be stored and replayed.")
        })?;
        let book = stage.provider.book();
        ensure!(
            (book.asked(checkout.order()), book.charges(checkout.order())) == (1, 0),
            "A decline is a final answer like any other: it has to be stored and replayed.",
            "the provider was asked {} times to charge for one declined request, and charged {} times",
            book.asked(checkout.order()),
            book.charges(checkout.order())
        );
    }
    Ok(())
}
