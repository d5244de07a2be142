//! The same request, many times at once, on two instances.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use double_charge_hidden::doomed::Doomed;
use double_charge_hidden::instance::POOL;
use double_charge_hidden::promise::succeeded;
use double_charge_hidden::provider::Acquirer;
use double_charge_hidden::stage::{LONG, SOON, Stage, database};
use double_charge_hidden::subject::{IdemCfg, PayError, PayResp};
use double_charge_hidden::traffic::Checkout;
use double_charge_hidden::turn::{Effect, Gate, Turn};
use harness::postgres::{Gate as TapGate, PgTap, Postgres};
use harness::{Check, Failure, OrObserved, Outcome, eventually, within};
use tokio::task::JoinSet;

const DUPLICATES: usize = 100;
const FOREVER: Duration = Duration::from_secs(60 * 60);

pub async fn at_once(cx: &Check) -> Outcome {
    tokio::try_join!(new_key(cx), abandoned_key(cx)).map(drop)
}

/// Nobody has seen the key before.
async fn new_key(cx: &Check) -> Outcome {
    let pg = &database(cx).await?;
    let stage = Arc::new(Stage::set(cx, pg, LONG).await?);
    let checkout = Checkout::new(Acquirer::EveryRequest, "at-once");
    let charging = Gate::default();
    stage.provider.script(
        checkout.order(),
        [Turn::new(Effect::Charge).request_held(&charging)],
    );

    let gates = [first_answers(&stage.a.tap), first_answers(&stage.b.tap)];
    let returned = Arc::new(AtomicUsize::new(0));
    let mut calls = JoinSet::new();
    for n in 0..DUPLICATES {
        let (stage, checkout, returned) = (stage.clone(), checkout.clone(), returned.clone());
        calls.spawn(async move {
            let instance = if n % 2 == 0 { &stage.a } else { &stage.b };
            let answer = checkout.send(&instance.payments).await;
            returned.fetch_add(1, Ordering::SeqCst);
            answer
        });
    }
    until_two_have_looked(pg, &gates, 2 * POOL as usize).await?;
    gates.iter().for_each(TapGate::open);
    until_the_rest_have_had_their_say(&stage, &checkout, &returned).await;
    charging.open();

    let answered = within(
        Duration::from_secs(15),
        "an answer to every duplicate",
        calls.join_all(),
    );
    // Who charges again and again may have tied itself in knots as well, and that is not the news.
    let many = stage.provider.until("a third charge", FOREVER, |book| {
        book.charges(checkout.order()) > 2
    });
    let answers = tokio::select! {
        answers = answered => answers,
        _ = many => Ok(Vec::new()),
    };
    stage.provider.until_idle(checkout.order()).await?;
    if let Err(failure) = stage.charged_once(&checkout) {
        return Err(failure.because(why_again(pg, &stage).await));
    }
    let told = finals(answers?)?;
    let violations = stage.a.tap.counts().sqlstate("23505") + stage.b.tap.counts().sqlstate("23505");
    cx.measure(
        "unique_violations_per_duplicate",
        violations as f64 / DUPLICATES as f64,
    );
    cx.explain(
        "unique_violations_per_duplicate",
        "A duplicate that runs into the constraint again and again is a busy loop in the database.",
        [format!(
            "{violations} unique violations for {DUPLICATES} duplicates of one request"
        )],
    );
    stage.settles_with_one_charge(&checkout, &told).await
}

/// The lease of an abandoned key, and how much of the next one may be spent on holding answers back: what follows has to
/// end within its lease on a slow machine as well.
const LEASE: Duration = Duration::from_secs(4);
const HELD_MAX: Duration = Duration::from_millis(1_500);

/// An attempt has died before it charged, its lease is over, and everybody comes at once to take over: duplicates and
/// the recovery job, on both instances.
async fn abandoned_key(cx: &Check) -> Outcome {
    let pg = &database(cx).await?;
    let cfg = IdemCfg { lease: LEASE, ..LONG };
    let stage = Arc::new(Stage::set(cx, pg, cfg).await?);
    let checkout = Checkout::new(Acquirer::EveryRequest, "abandoned");
    let charging = Gate::default();
    stage.provider.script(
        checkout.order(),
        [Turn::new(Effect::LoseRequest).request_held(&charging)],
    );
    let mut first = Doomed::start(pg, &stage.provider, cfg).await?;
    first.send(&checkout);
    within(SOON, "the charge request", charging.until_arrived(1)).await?;
    let lease = Instant::now();
    first.die().await;
    charging.open();
    stage.provider.until_idle(checkout.order()).await?;
    tokio::time::sleep((LEASE + Duration::from_millis(100)).saturating_sub(lease.elapsed())).await;

    let gates = [first_answers(&stage.a.tap), first_answers(&stage.b.tap)];
    let (mut calls, begun) = (JoinSet::new(), Instant::now());
    for n in 0..TAKERS {
        let (stage, checkout) = (stage.clone(), checkout.clone());
        calls.spawn(async move {
            let payments = if n % 2 == 0 {
                &stage.a.payments
            } else {
                &stage.b.payments
            };
            match n < 2 {
                // How many it dealt with is its own affair.
                true => payments.recover().await.map(|_| None).or(Ok(None)),
                false => checkout.send(payments).await.map(Some),
            }
        });
    }
    tokio::time::timeout(HELD_MAX, until_two_have_looked(pg, &gates, TAKERS))
        .await
        .unwrap_or(Ok(()))?;
    gates.iter().for_each(TapGate::open);
    let answers = within(
        Duration::from_secs(15),
        "an answer to everybody who took over",
        calls.join_all(),
    )
    .await?;
    stage.provider.until_idle(checkout.order()).await?;
    let took = begun.elapsed();
    stage.charged_once(&checkout).map_err(|failure| {
        if took > LEASE / 4 * 3 {
            return Failure::inconclusive(format!("what has to end within a lease of {LEASE:?} took {took:?}"));
        }
        failure.because(
            "Two saw that the lease was over before either took the key: taking over has to look and to write in one step.",
        )
    })?;
    let told = answers.into_iter().filter_map(Result::transpose).collect();
    stage
        .settles_with_one_charge(&checkout, &finals_if_any(told)?)
        .await
}

/// Two recovery jobs and four duplicates.
const TAKERS: usize = 6;

const LOOKED: &str = "Two requests saw \"not found\" before either inserted, or the loser of the insert went on: both charged.";
const KEPT_APART: &str = "Each instance kept the duplicates apart on its own, and another replica, or a restart, has never heard of the key.";

/// Why there was more than one charge. One from each instance may come of either; what an instance does by itself tells.
async fn why_again(pg: &Postgres, stage: &Arc<Stage>) -> &'static str {
    let once_each = {
        let book = stage.provider.book();
        let of = |door: &str| book.charged.iter().filter(|charged| charged.door == door).count();
        (of("a"), of("b")) == (1, 1)
    };
    if once_each
        && charges_of_one_instance(pg, stage)
            .await
            .is_ok_and(|charges| charges == 1)
    {
        KEPT_APART
    } else {
        LOOKED
    }
}

/// How often one instance charges for duplicates that come at once.
async fn charges_of_one_instance(pg: &Postgres, stage: &Arc<Stage>) -> Result<usize, Failure> {
    let checkout = Checkout::new(Acquirer::EveryRequest, "one-instance");
    let charging = Gate::default();
    stage.provider.script(
        checkout.order(),
        [Turn::new(Effect::Charge).request_held(&charging)],
    );
    let gates = [first_answers(&stage.a.tap)];
    let mut calls = JoinSet::new();
    for _ in 0..POOL {
        let (stage, checkout) = (stage.clone(), checkout.clone());
        calls.spawn(async move { checkout.send(&stage.a.payments).await });
    }
    until_two_have_looked(pg, &gates, POOL as usize).await?;
    gates.iter().for_each(TapGate::open);
    let second = stage
        .provider
        .until("a second charge", Duration::from_secs(1), |book| {
            book.asked(checkout.order()) > 1
        });
    drop(second.await);
    charging.open();
    within(SOON, "an answer to every duplicate", calls.join_all()).await?;
    stage.provider.until_idle(checkout.order()).await?;
    Ok(stage.provider.book().charges(checkout.order()))
}

/// Holds the answer to each connection's first statement, so that what it saw is old when it comes back.
fn first_answers(tap: &PgTap) -> TapGate {
    let seen = Mutex::new(HashSet::new());
    tap.hold_replies(move |request| {
        request.runs_data()
            && !request.mentions("LISTEN")
            && seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(request.connection)
    })
}

/// Every connection has its first answer, or two have and no other comes, or one has and the others wait for it in the
/// server. Duplicates may also be kept apart before they reach the database; then nobody comes for a while.
async fn until_two_have_looked(pg: &Postgres, gates: &[TapGate], all: usize) -> Outcome {
    let mut admin = pg.admin().await?;
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut came = (0, Instant::now());
    eventually(
        Duration::from_secs(10),
        "a statement of a duplicate",
        async || {
            let waiting: usize = gates.iter().map(TapGate::waiting).sum();
            if waiting != came.0 {
                came = (waiting, Instant::now());
            }
            let rows = admin.query(blocked).await.unwrap_or_default();
            let blocked = rows.first().and_then(|row| row.text(0)).is_some_and(|n| n != "0");
            let alone = came.1.elapsed() > Duration::from_secs(1);
            (waiting == all || waiting > 0 && (blocked || alone)).then_some(())
        },
    )
    .await
}

/// Until all but one have returned, or a second charge is on its way, or those who wait have asked often enough.
async fn until_the_rest_have_had_their_say(stage: &Stage, checkout: &Checkout, returned: &AtomicUsize) {
    let begun = Instant::now();
    loop {
        let statements = stage.a.tap.counts().statements + stage.b.tap.counts().statements;
        let reached = returned.load(Ordering::SeqCst) >= DUPLICATES - 1
            || stage.provider.book().asked(checkout.order()) >= 2
            || statements >= 8 * DUPLICATES as u64
            || begun.elapsed() > Duration::from_secs(1);
        if reached {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The final answers, of which there has to be one.
fn finals(answers: Vec<Result<PayResp, PayError>>) -> Result<Vec<PayResp>, Failure> {
    let told = finals_if_any(answers)?;
    told.first().or_observed("no duplicate got the answer")?;
    Ok(told)
}

/// The final answers; everything else may only be "in progress".
fn finals_if_any(answers: Vec<Result<PayResp, PayError>>) -> Result<Vec<PayResp>, Failure> {
    let mut told = Vec::new();
    for answer in answers {
        match answer {
            Ok(answer) => {
                succeeded(&answer)?;
                told.push(answer);
            }
            Err(PayError::InProgress { .. }) => {}
            Err(err) => {
                let text = err.to_string();
                let because = if text.contains("serialize") || text.contains("deadlock") {
                    "Serialization failures must be retried, not returned."
                } else if text.contains("no rows returned") {
                    "The conflicting row is invisible to this snapshot, so the query returns nothing."
                } else {
                    "Losing a race against a duplicate is no failure: the answer is the other's, or \"in progress\"."
                };
                return Err(Failure::new(format!("a duplicate was told: {text}")).because(because));
            }
        }
    }
    Ok(told)
}
