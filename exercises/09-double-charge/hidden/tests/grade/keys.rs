//! What a key stands for.

use std::time::Instant;

use double_charge_hidden::instance::{Instance, median};
use double_charge_hidden::promise::{self, AFTER_A_LEASE, succeeded};
use double_charge_hidden::provider::{Acquirer, Provider};
use double_charge_hidden::stage::{LONG, SHORT, SOON, Stage, database};
use double_charge_hidden::subject::{PayError, PayReq, Payments};
use double_charge_hidden::traffic::{Checkout, PAUSE};
use double_charge_hidden::turn::{Effect, Turn};
use harness::{Check, Failure, OrObserved, Outcome, ensure, within};

/// Merchants and keys that have nothing to do with each other, however they are put together. Behind all but one of
/// the merchants stands the acquirer that makes one charge per key.
const UNRELATED: [(&str, &str); 11] = [
    ("lantern-books", "7f3a"),
    ("harbour-tea", "7f3a"),
    ("shop", "7f3a"),
    ("shop", "1-a"),
    ("shop-1", "a"),
    ("shop", "1a"),
    ("shop1", "a"),
    ("shop", "a/1:b"),
    ("shop", "7F3A"),
    (
        "shop",
        "order-0000000000000000000000000000000000000000000000000000000001",
    ),
    (
        "shop",
        "order-0000000000000000000000000000000000000000000000000000000002",
    ),
];

pub async fn scoped(cx: &Check) -> Outcome {
    let pg = database(cx).await?;
    let stage = Stage::set(cx, &pg, LONG).await?;
    let c = Instance::start("c", pg.another_tap().await?, &stage.provider, SHORT).await?;
    let d = Instance::start("d", pg.another_tap().await?, &stage.provider, SHORT).await?;
    let unfinished =
        |acquirer, effect| unfinished(&stage.provider, [&c.payments, &d.payments], acquirer, effect);
    // One after the other: the first counts all that the provider is asked.
    finished(cx, &stage).await?;
    tokio::try_join!(
        unfinished(Acquirer::OncePerKey, Effect::LoseAnswer),
        unfinished(Acquirer::EveryRequest, Effect::LoseAnswer),
        unfinished(Acquirer::EveryRequest, Effect::Busy),
    )
    .map(drop)
}

async fn finished(cx: &Check, stage: &Stage) -> Outcome {
    let mut statements = Vec::new();
    for (n, (merchant, key)) in UNRELATED.into_iter().enumerate() {
        let basket = Checkout::new(Acquirer::of(merchant), &n.to_string());
        let checkout = Checkout {
            merchant: merchant.to_owned(),
            key: key.to_owned(),
            ..basket
        };
        let before = stage.a.tap.statements().len();
        pays(stage, &checkout).await.map_err(|failure| {
            failure
                .because("Merchants choose their keys without knowing each other: a key counts within its merchant, in \
                          the tables and at the provider.")
                .evidence(format!("merchant {merchant}, key {key}, after other payments"))
        })?;
        statements.push(stage.a.statements_after(before));
        another_request_is_refused(stage, &checkout).await?;
    }
    let median = median(&mut statements);
    cx.measure("statements_per_payment", median.len() as f64);
    cx.explain(
        "statements_per_payment",
        "A payment has two states worth a transaction: before the charge and after it.",
        median,
    );

    // The same basket, bought twice on purpose.
    let first = Checkout::new(Acquirer::OncePerKey, "basket");
    let second = Checkout {
        key: format!("{}-again", first.key),
        ..first.clone()
    };
    for checkout in [&first, &second] {
        let paid = within(SOON, "a payment", checkout.send(&stage.a.payments)).await?;
        succeeded(&paid.or_observed("a payment failed")?)?;
    }
    let charges = stage.provider.book().charges(first.order());
    ensure!(
        charges == 2,
        "Two keys are two payments, whatever they pay for.",
        "{charges} charges for two keys with one basket"
    );
    Ok(())
}

/// A key whose first attempt has left its outcome open is that request's all the same, also for whoever takes over.
async fn unfinished(
    provider: &Provider,
    [first, next]: [&Payments; 2],
    acquirer: Acquirer,
    effect: Effect,
) -> Outcome {
    let checkout = Checkout::new(acquirer, &format!("open-{acquirer:?}-{effect:?}"));
    provider.script(checkout.order(), [Turn::new(effect)]);
    let told = within(SOON, "an answer", checkout.send(first)).await?;
    let mut other = checkout.clone();
    other.request.amount_cents += 1;
    // For longer than the lease of the first attempt: until it has ended, nobody takes over.
    let begun = Instant::now();
    let refused = async {
        loop {
            let answer = other.send(next).await;
            let again = match answer {
                Err(PayError::InProgress | PayError::Retry(_)) => true,
                Err(PayError::KeyReuse) => begun.elapsed() < 2 * SHORT.lease,
                _ => false,
            };
            if !again {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let answer = within(AFTER_A_LEASE, "an answer to another request", refused).await?;
    ensure!(
        matches!(answer, Err(PayError::KeyReuse)),
        "Whoever takes over an unfinished key takes over its request: another one is a merchant's mistake then as well, and \
         the charge that may have been made was not for it.",
        "the provider's turn was {effect:?}, and the same key with another amount was answered with {answer:?}"
    );
    let told: Vec<_> = told.ok().into_iter().collect();
    promise::settles_with_one_charge(provider, &[next, first], &checkout, &told).await
}

async fn pays(stage: &Stage, checkout: &Checkout) -> Outcome {
    let paid = within(SOON, "a payment", checkout.send(&stage.a.payments)).await?;
    let paid = paid.or_observed("the first request with its key failed")?;
    ensure!(
        !paid.replayed,
        "A key counts within its merchant.",
        "the first request with its key was answered as a replay"
    );
    succeeded(&paid)?;
    stage.charged_once(checkout)?;
    stage.names_its_charge(checkout, &paid)
}

async fn another_request_is_refused(stage: &Stage, checkout: &Checkout) -> Outcome {
    let request = &checkout.request;
    let others = [
        (
            "amount",
            PayReq {
                amount_cents: request.amount_cents + 1,
                ..request.clone()
            },
        ),
        (
            "order",
            PayReq {
                order_id: format!("{}-b", request.order_id),
                ..request.clone()
            },
        ),
        (
            "currency",
            PayReq {
                currency: "SEK".to_owned(),
                ..request.clone()
            },
        ),
        (
            "card",
            PayReq {
                card: "tok_5555".to_owned(),
                ..request.clone()
            },
        ),
    ];
    // Put side by side, the two fields read as before.
    let cents = request.amount_cents.to_string();
    let (moved, left) = cents.split_at(cents.len() - 2);
    let moved = PayReq {
        order_id: format!("{}{moved}", request.order_id),
        amount_cents: left.parse().or_observed("the amount's last digits")?,
        ..request.clone()
    };
    let calls = stage.provider.book().calls();
    for (field, request) in others.into_iter().chain([("order and amount", moved)]) {
        let other = Checkout {
            request,
            ..checkout.clone()
        };
        let answer = within(
            SOON,
            "an answer to another request",
            other.send(&stage.b.payments),
        )
        .await?;
        ensure!(
            matches!(answer, Err(PayError::KeyReuse { .. })),
            "A key that comes with another request is a merchant's mistake, and has to be refused: replaying the wrong \
             answer or charging for it hides the mistake.",
            "the same key with another {field} was answered with {answer:?}"
        );
    }
    ensure!(
        stage.provider.book().calls() == calls,
        "A refused request has no business at the provider.",
        "a request that reused a key reached the provider"
    );
    Ok(())
}

pub async fn invalid(cx: &Check) -> Outcome {
    let pg = database(cx).await?;
    let stage = Stage::set(cx, &pg, LONG).await?;
    let slips: [fn(&mut Checkout); 7] = [
        |checkout| checkout.request.amount_cents = 0,
        |checkout| checkout.request.amount_cents = -1_299,
        |checkout| checkout.request.currency = "eur".to_owned(),
        |checkout| checkout.request.currency = "EURO".to_owned(),
        |checkout| checkout.request.order_id.clear(),
        |checkout| checkout.request.card.clear(),
        |checkout| checkout.key.clear(),
    ];
    for (n, slip) in slips.into_iter().enumerate() {
        let right = Checkout::new(Acquirer::EveryRequest, &format!("invalid-{n}"));
        let mut wrong = right.clone();
        slip(&mut wrong);
        let calls = stage.provider.book().calls();
        let answer = within(
            SOON,
            "an answer to an invalid request",
            wrong.send(&stage.a.payments),
        )
        .await?;
        ensure!(
            matches!(answer, Err(PayError::Invalid { .. })),
            "A request that can never succeed is refused before anything else.",
            "{:?} was answered with {answer:?}",
            wrong.request
        );
        ensure!(
            stage.provider.book().calls() == calls,
            "A request that can never succeed is refused before anything else.",
            "an invalid request reached the provider"
        );
        corrected(&stage, &right).await.map_err(|failure| {
            failure.because(
                "An invalid request burned its key: the merchant corrects the request and sends it with the \
                             same key.",
            )
        })?;
    }
    Ok(())
}

async fn corrected(stage: &Stage, right: &Checkout) -> Result<(), Failure> {
    let paid = within(SOON, "a corrected request", right.send(&stage.b.payments)).await?;
    succeeded(&paid.or_observed("the corrected request failed")?)?;
    stage.charged_once(right)
}
