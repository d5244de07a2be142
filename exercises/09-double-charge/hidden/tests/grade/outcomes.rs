//! What the provider says, and what it leaves open.

use std::sync::Arc;

use double_charge_hidden::promise::succeeded;
use double_charge_hidden::provider::{ACQUIRERS, Acquirer};
use double_charge_hidden::stage::{SHORT, SOON, Stage, database};
use double_charge_hidden::subject::PayError;
use double_charge_hidden::traffic::Checkout;
use double_charge_hidden::turn::{Effect, Turn};
use harness::{Check, Failure, OrObserved, Outcome, within};
use hyper::StatusCode;
use tokio::task::JoinSet;

use crate::waiting;

/// What becomes of an order's first charge requests, and of its first look-ups; then all is well.
struct Case {
    name: &'static str,
    effects: &'static [Effect],
    lookups_fail: &'static [StatusCode],
}

const UNKNOWN: [Case; 6] = [
    Case {
        name: "charged-lost",
        effects: &[Effect::LoseAnswer],
        lookups_fail: &[],
    },
    Case {
        name: "request-lost",
        effects: &[Effect::LoseRequest],
        lookups_fail: &[],
    },
    Case {
        name: "lost-then-charged-lost",
        effects: &[Effect::LoseRequest, Effect::LoseAnswer],
        lookups_fail: &[],
    },
    Case {
        name: "charged-lost-then-blind",
        effects: &[Effect::LoseAnswer],
        lookups_fail: &[StatusCode::BAD_GATEWAY; 2],
    },
    // That the provider was too busy to be asked says of the earlier charge nothing at all.
    Case {
        name: "charged-lost-then-too-busy-to-say",
        effects: &[Effect::LoseAnswer],
        lookups_fail: &[StatusCode::SERVICE_UNAVAILABLE; 2],
    },
    Case {
        name: "charged-lost-then-busy",
        effects: &[Effect::LoseAnswer, Effect::Busy],
        lookups_fail: &[],
    },
];

const BUSY: [Case; 2] = [
    Case {
        name: "busy",
        effects: &[Effect::Busy],
        lookups_fail: &[],
    },
    Case {
        name: "busy-twice",
        effects: &[Effect::Busy, Effect::Busy],
        lookups_fail: &[],
    },
];

pub async fn unknown(cx: &Check) -> Outcome {
    tokio::try_join!(
        all(cx, &UNKNOWN),
        waiting::for_nothing(cx, Acquirer::OncePerKey, Effect::LoseAnswer),
        waiting::for_nothing(cx, Acquirer::EveryRequest, Effect::LoseRequest),
        waiting::for_the_hung(cx),
    )
    .map(drop)
}

pub async fn busy(cx: &Check) -> Outcome {
    tokio::try_join!(
        all(cx, &BUSY),
        waiting::for_nothing(cx, Acquirer::EveryRequest, Effect::Busy),
    )
    .map(drop)
}

/// Side by side, since most of their time is a lease's.
async fn all(cx: &Check, cases: &'static [Case]) -> Outcome {
    let pg = database(cx).await?;
    let mut running = JoinSet::new();
    let stage = Arc::new(Stage::set(cx, &pg, SHORT).await?);
    for case in cases {
        for acquirer in ACQUIRERS {
            let stage = stage.clone();
            running.spawn(async move {
                settles(&stage, case, acquirer)
                    .await
                    .map_err(|failure| explained(failure, case))
            });
        }
    }
    // The first that fails is told: others may go on waiting for leases of theirs.
    while let Some(outcome) = running.join_next().await {
        outcome.or_observed("a case panicked")??;
    }
    Ok(())
}

async fn settles(stage: &Stage, case: &Case, acquirer: Acquirer) -> Outcome {
    let checkout = Checkout::new(acquirer, &format!("{}-{acquirer:?}", case.name));
    stage.provider.fail_lookups(checkout.order(), case.lookups_fail);
    stage.provider.script(
        checkout.order(),
        case.effects.iter().map(|effect| Turn::new(*effect)),
    );
    // The attempt may have settled the outcome itself, or it sends the merchant back.
    let first = within(SOON, "an answer", checkout.send(&stage.a.payments)).await?;
    let told = match first {
        Ok(answer) => succeeded(&answer).map(|()| Some(answer))?,
        Err(PayError::Retry { .. } | PayError::InProgress { .. }) => None,
        Err(err) => {
            return Err(Failure::new(format!(
                "the first request was refused for good: {err}"
            )));
        }
    };
    let attempts = case.effects.len() + case.lookups_fail.len();
    stage
        .settles_after(attempts as u32, &checkout, told.as_slice())
        .await
}

fn explained(failure: Failure, case: &Case) -> Failure {
    failure.evidence(format!(
        "the provider's turns: {:?}, failed look-ups: {:?}",
        case.effects, case.lookups_fail
    ))
}
