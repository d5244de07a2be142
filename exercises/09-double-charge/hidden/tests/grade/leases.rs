//! An attempt and its lease: while it runs, and after it has run out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use double_charge_hidden::instance::Instance;
use double_charge_hidden::promise::{AFTER_A_LEASE, succeeded};
use double_charge_hidden::provider::Acquirer;
use double_charge_hidden::stage::{LONG, SHORT, SOON, Stage, database};
use double_charge_hidden::subject::{IdemCfg, PayError, PayResp};
use double_charge_hidden::traffic::Checkout;
use double_charge_hidden::turn::{Effect, Gate, Turn};
use harness::{Check, Failure, OrObserved, Outcome, ensure, within};
use tokio::task::{JoinHandle, JoinSet};

/// Which instance a request reaches.
type At = fn(&Stage) -> &Instance;

/// A second request that has not returned by now waits for the first.
const WAITS: Duration = Duration::from_millis(300);
/// A second attempt that has not begun by now, after a lease of a second, sees that the first one is alive.
const TAKES_OVER: Duration = Duration::from_millis(3_500);
/// An attempt that has not returned by now, once its provider has answered, waits for another one.
const WRITES: Duration = Duration::from_millis(700);

pub async fn live(cx: &Check) -> Outcome {
    let pg = database(cx).await?;
    // Here a second attempt shows as a second charge.
    let stage = Arc::new(Stage::set(cx, &pg, LONG).await?);
    let checkout = Checkout::new(Acquirer::EveryRequest, "running");
    let charging = Gate::default();
    stage.provider.script(
        checkout.order(),
        [Turn::new(Effect::Charge).request_held(&charging)],
    );
    let running = send(&stage, &checkout, |stage| &stage.a);
    within(SOON, "the charge request", charging.until_arrived(1)).await?;

    let because = "A live attempt was taken for a dead one: its key is its own until its lease ends.";
    let recovered = within(SOON, "recover", stage.b.payments.recover()).await?;
    recovered.or_observed("recover failed while a payment was running")?;
    let before = stage.b.tap.counts();
    let mut second = send(&stage, &checkout, |stage| &stage.b);
    // It returns, or it waits for the first; then it has looked at least once.
    let looked = stage
        .b
        .tap
        .until("the second request's look at the key", SOON, |counts| {
            counts.since(&before).statements > 0
        });
    let early = tokio::select! {
        answer = &mut second => Some(answer),
        looked = looked => looked.map(|()| None)?,
    };
    let early = match early {
        None => tokio::time::timeout(WAITS, &mut second).await.ok(),
        early => early,
    };
    let again = within(SOON, "recover", stage.b.payments.recover()).await?;
    again.or_observed("recover failed while a payment was running")?;

    charging.open();
    let first = within(SOON, "the answer to the running payment", running).await?;
    let first = first
        .or_observed("the payment panicked")?
        .or_observed("the running payment failed")?;
    let second = match early {
        Some(answer) => answer,
        None => within(SOON, "the answer to the second request", second).await?,
    };
    stage.provider.until_idle(checkout.order()).await?;
    stage
        .charged_once(&checkout)
        .map_err(|failure| failure.because(because))?;
    succeeded(&first)?;
    match second.or_observed("the second request panicked")? {
        Ok(second) => stage.settles_with_one_charge(&checkout, &[first, second]).await,
        Err(PayError::InProgress { .. }) => stage.settles_with_one_charge(&checkout, &[first]).await,
        Err(err) => Err(
            Failure::new(format!("a request whose key was in use was told: {err}"))
                .because("A key in use is answered with \"in progress\", or by waiting for the answer."),
        ),
    }
}

/// What the provider says to an attempt whose lease has ended in the meantime. Where every request is charged, it must
/// not be a charge: no look-up can see one that is still on its way.
const LATE: [(&str, Acquirer, Effect); 4] = [
    ("late-charge", Acquirer::OncePerKey, Effect::Charge),
    ("late-busy", Acquirer::EveryRequest, Effect::Busy),
    ("late-decline", Acquirer::EveryRequest, Effect::Decline),
    ("late-silence", Acquirer::EveryRequest, Effect::LoseRequest),
];

/// Where the second attempt is when the first one's late answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Successor {
    /// At its end, and its answer is on record.
    Done,
    /// In its own charge: the key is in progress, and the attempt alone can tell that it is another's progress.
    Charging,
}

pub async fn outlived(cx: &Check) -> Outcome {
    let pg = database(cx).await?;
    let mut running = JoinSet::new();
    let stage = Arc::new(Stage::set(cx, &pg, SHORT).await?);
    // The merchant's next request may reach either instance.
    let successors: [(&str, At); 2] = [("another", |stage| &stage.b), ("the same", |stage| &stage.a)];
    for (name, acquirer, effect) in LATE {
        for (which, successor) in successors {
            for then in [Successor::Done, Successor::Charging] {
                let stage = stage.clone();
                running.spawn(async move {
                    let name = format!("{name}-{}-{then:?}", which.replace(' ', "-"));
                    let checkout = Checkout::new(acquirer, &name.to_lowercase());
                    late(stage, &checkout, effect, successor, then)
                        .await
                        .map_err(|failure| {
                            failure
                                .evidence(format!("the late answer to the first attempt: {effect:?}"))
                                .evidence(format!("the second attempt was on {which} instance"))
                        })
                });
            }
        }
    }
    // One provider for one database.
    let apart = database(cx).await?;
    let roomy = Arc::new(Stage::set(cx, &apart, ROOMY).await?);
    for effect in [Effect::Busy, Effect::LoseRequest] {
        for (which, successor) in successors {
            let stage = roomy.clone();
            running.spawn(async move {
                lets_go(stage, effect, which, successor).await.map_err(|failure| {
                    failure.evidence(format!("the second attempt was on {which} instance"))
                })
            });
        }
    }
    for outcome in running.join_all().await {
        outcome?;
    }
    Ok(())
}

/// Long enough for a third request to come well before the second attempt's has ended.
const ROOMY: IdemCfg = IdemCfg {
    lease: Duration::from_secs(2),
    ..SHORT
};

/// The first attempt outlives its lease, and learns then that nothing was charged: it lets go of the key, which is its
/// successor's by now. Whoever comes next must not get in.
async fn lets_go(stage: Arc<Stage>, effect: Effect, which: &str, successor: At) -> Outcome {
    /// An attempt may prolong its lease a few times.
    const KEPT_MAX: Duration = Duration::from_millis(6_500);
    /// A third attempt that the key lets in has asked the provider by then.
    const ASKS: Duration = Duration::from_millis(500);
    let checkout = Checkout::new(
        Acquirer::EveryRequest,
        &format!("lets-go-{effect:?}-{}", which.replace(' ', "-")).to_lowercase(),
    );
    let (held, charging) = (Gate::default(), Gate::default());
    stage.provider.script(
        checkout.order(),
        [
            Turn::new(effect).request_held(&held),
            Turn::new(Effect::Charge).request_held(&charging),
            Turn::new(Effect::Charge).request_held(&charging),
        ],
    );
    let mut first = send(&stage, &checkout, |stage| &stage.a);
    within(SOON, "the charge request", held.until_arrived(1)).await?;
    let second = {
        let (stage, checkout) = (stage.clone(), checkout.clone());
        tokio::spawn(async move {
            let patience = KEPT_MAX + AFTER_A_LEASE;
            checkout.insist(&successor(&stage).payments, patience).await
        })
    };
    // An attempt that shows that it lives keeps its key; then there is no second one to be wronged.
    let taken_over = tokio::time::timeout(KEPT_MAX, charging.until_arrived(1)).await;
    let since = Instant::now();
    held.open();
    let first = match tokio::time::timeout(WRITES, &mut first).await {
        Ok(ended) => Some(ended.or_observed("the first attempt panicked")?),
        Err(_) => None,
    };
    let mut third = None;
    if taken_over.is_ok() && first.is_some() {
        let sent = send(&stage, &checkout, |stage| &stage.b);
        let another = tokio::time::timeout(ASKS, charging.until_arrived(2)).await;
        let in_time = since.elapsed() < ROOMY.lease / 2;
        ensure!(
            another.is_err() || !in_time,
            "An attempt that has lost its lease let go of the key all the same, which was its successor's by then: whoever \
             gives a key back has to make sure that it is still the one who holds it.",
            "a second attempt was charging, the first one's late {effect:?} came, and a third attempt began at once beside it"
        );
        third = Some(sent);
    }
    charging.open();
    let mut told = Vec::new();
    // It has a deadline of its own.
    told.push(second.await.or_observed("the second attempt panicked")??);
    if let Some(third) = third {
        let third = within(AFTER_A_LEASE, "the third request's end", third).await?;
        told.extend(third.or_observed("the third request panicked")?.ok());
    }
    told.extend(first.and_then(Result::ok));
    stage.provider.until_idle(checkout.order()).await?;
    stage.settles_with_one_charge(&checkout, &told).await
}

async fn late(
    stage: Arc<Stage>,
    checkout: &Checkout,
    effect: Effect,
    successor: At,
    then: Successor,
) -> Outcome {
    let (held, charging) = (Gate::default(), Gate::default());
    stage.provider.script(
        checkout.order(),
        [
            Turn::new(effect).request_held(&held),
            Turn::new(Effect::Charge).request_held(&charging),
        ],
    );
    if then == Successor::Done {
        charging.open();
    }
    let mut first = send(&stage, checkout, |stage| &stage.a);
    within(SOON, "the charge request", held.until_arrived(1)).await?;

    // The second takes over when the lease has ended, or waits for as long as the first shows that it lives.
    let mut second = {
        let (stage, checkout) = (stage.clone(), checkout.clone());
        tokio::spawn(async move {
            checkout
                .insist(&successor(&stage).payments, TAKES_OVER + AFTER_A_LEASE)
                .await
        })
    };
    let mut ended_early = None;
    let taken_over = tokio::select! {
        ended = &mut second => {
            let answer = ended.or_observed("the second attempt panicked")?;
            ended_early.insert(answer).is_ok()
        }
        () = charging.until_arrived(1), if then == Successor::Charging => true,
        () = tokio::time::sleep(TAKES_OVER) => false,
    };
    held.open();
    // What the first has to write, it writes now; but it may as well wait for the answer of the other.
    let ended = tokio::time::timeout(WRITES, &mut first).await;
    charging.open();
    let first = match ended {
        Ok(ended) => ended,
        Err(_) => within(SOON, "the first attempt's end", first).await?,
    };
    let second = match ended_early {
        Some(answer) => answer,
        None => within(AFTER_A_LEASE, "the second attempt's end", second)
            .await?
            .or_observed("the second attempt panicked")?,
    };
    let mut told: Vec<_> = second.into_iter().collect();
    match first.or_observed("the first attempt panicked")? {
        Ok(answer) => told.push(answer),
        Err(PayError::Retry { .. } | PayError::InProgress { .. }) => {}
        Err(err) => return Err(Failure::new(format!("the first attempt was told: {err}"))),
    }
    if effect == Effect::Decline && !taken_over && told.iter().all(|answer| answer.status == 402) {
        // Nobody took over, and the decline is the answer.
        return stage.uncharged(checkout);
    }
    let settled = stage.settles_with_one_charge(checkout, &told).await;
    settled.map_err(|failure| match taken_over && stage.charged_once(checkout).is_ok() {
        true => failure.because(
            "An attempt that has lost its lease wrote all the same, over what its successor had recorded or was about to.",
        ),
        false => failure,
    })
}

fn send(stage: &Arc<Stage>, checkout: &Checkout, to: At) -> JoinHandle<Result<PayResp, PayError>> {
    let (stage, checkout) = (stage.clone(), checkout.clone());
    tokio::spawn(async move { checkout.send(&to(&stage).payments).await })
}
