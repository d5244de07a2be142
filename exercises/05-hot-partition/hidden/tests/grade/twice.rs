//! The same event, sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use harness::dynamodb::Refusal;
use harness::{Check, Failure, OrObserved, Outcome, ensure, within};
use hot_partition_hidden::reader;
use hot_partition_hidden::stage::{LONG, SOON, Stage, done};
use hot_partition_hidden::subject::{Event, Patch};
use hot_partition_hidden::traffic::SMALL;
use tokio::task::JoinSet;

const EVENTS: usize = 12;

/// How often a producer sends an event that it gets no answer for.
const ATTEMPTS: usize = 5;

const ONCE: &str = "A second attempt has to arrive at the same item as the first: where an event lies must be computed from \
                    the event, or be looked up.";

const CORRECTED: &str = "An append whose request failed, or got no answer, is not free to write whatever is there: it may have \
                         been corrected since it was first sent.";

pub async fn counted_once(cx: &Check) -> Outcome {
    let stage = Stage::set(cx).await?;
    for customer in [stage.big, SMALL[2]] {
        let a = stage.instance();
        let (b, tap) = stage.instance_apart(stage.cfg(LONG))?;
        let mut events = stage.events(EVENTS);

        cx.stage(format!(
            "sending each event of {customer} twice, one after the other"
        ));
        for event in &events[..4] {
            for log in [&a, &a, &b] {
                done("an append", log.append(customer, event.clone())).await?;
            }
        }
        cx.stage(format!("sending each event of {customer} many times at once"));
        let mut sending = JoinSet::new();
        for event in &events[4..8] {
            for n in 0..6 {
                let (log, event) = (if n % 2 == 0 { a.clone() } else { b.clone() }, event.clone());
                sending.spawn(async move { log.append(customer, event).await });
            }
        }
        let sent = within(SOON, "the answers to appends at once", sending.join_all()).await?;
        for answer in sent {
            answer.or_observed("an append at the same time as another of the same event failed")?;
        }
        cx.stage(format!(
            "sending events of {customer} again whose answer was lost"
        ));
        for event in &events[8..] {
            let lost = tap.lose_reply(|request| request.writes());
            // It may have been told, or tried again by the service itself.
            let first = within(SOON, "an append whose answer was lost", {
                let (b, event) = (b.clone(), event.clone());
                async move { b.append(customer, event).await }
            });
            // Every further attempt is answered.
            let told = tokio::select! {
                told = first => told?,
                matched = lost.until_matched(2, SOON) => matched.map(|()| Ok(()))?,
            };
            drop(lost);
            if told.is_err() {
                answered(&b, customer, event).await?;
            }
            answered(&a, customer, event).await?;
        }

        cx.stage(format!("correcting an event of {customer}, and sending it again"));
        for at in [0, 5] {
            let body = format!("corrected {}", events[at].id);
            let patch = Patch { body: body.clone() };
            let amended = done("a correction", b.amend(customer, events[at].id, patch)).await?;
            ensure!(
                amended,
                ONCE,
                "amend says that there is no event {}",
                events[at].id
            );
            done(
                "an append of a corrected event",
                a.append(customer, events[at].clone()),
            )
            .await?;
            events[at].body = body;
        }
        cx.stage(format!(
            "sending a corrected event of {customer} again, while requests fail"
        ));
        events[1].body = kept_corrected(&stage, customer, events[1].clone()).await?;
        for log in [&stage.instance(), &b] {
            let expected = stage.all(&events);
            let shown = reader::everything(log, customer, 25, 4 * expected.len()).await?;
            reader::in_order(&shown).map_err(|failure| failure.because(ONCE))?;
            reader::shows(&shown, &expected, ONCE)?;
            for event in &events {
                let found = done("a look at one event", log.get(customer, event.id)).await?;
                ensure!(
                    found.as_ref() == Some(event),
                    ONCE,
                    "get says {found:?} where pages show {event:?}"
                );
            }
            let total = done("a total", log.total(customer)).await?;
            ensure!(
                total == expected.len() as u64,
                ONCE,
                "the total is {total} where there are {} events, some of them sent several times",
                expected.len()
            );
        }
    }
    Ok(())
}

/// An event that was corrected is sent again, with any of the requests for that refused, or its answer lost. Gives the body
/// that it was corrected to.
async fn kept_corrected(stage: &Stage, customer: &str, event: Event) -> Result<String, Failure> {
    let body = format!("corrected {}", event.id);
    let (log, tap) = stage.instance_apart(stage.cfg(LONG))?;
    let patch = Patch { body: body.clone() };
    done("a correction", log.amend(customer, event.id, patch)).await?;
    let before = tap.counts().requests;
    done(
        "an append of a corrected event",
        log.append(customer, event.clone()),
    )
    .await?;
    for k in 1..=tap.counts().requests - before {
        for fault in [
            Fault::Refused(Refusal::Unavailable),
            Fault::Refused(Refusal::Throttled),
            Fault::Lost,
        ] {
            // An instance that has not sent it yet.
            let (log, tap) = stage.instance_apart(stage.cfg(LONG))?;
            let told = format!("request {k} of the append: {fault:?}");
            let (seen, at) = (AtomicU64::new(0), k);
            let _fault: Box<dyn Send> = match fault {
                Fault::Refused(refusal) => Box::new(tap.refuse_the(k, refusal)),
                Fault::Lost => Box::new(tap.lose_reply(move |request| {
                    !request.accesses.is_empty() && seen.fetch_add(1, Ordering::SeqCst) + 1 == at
                })),
            };
            answered(&log, customer, &event).await?;
            let found = done("a look at one event", log.get(customer, event.id)).await?;
            let shown = found.as_ref().map(|found| &found.body);
            ensure!(
                shown == Some(&body),
                CORRECTED,
                "after a corrected event was sent again, get shows {shown:?} instead of {body:?} ({told})"
            );
        }
    }
    Ok(body)
}

#[derive(Clone, Debug)]
enum Fault {
    Refused(Refusal),
    Lost,
}

/// Sends until there is an answer, as producers do.
async fn answered(
    log: &Arc<hot_partition_hidden::subject::EventLog>,
    customer: &str,
    event: &Event,
) -> Outcome {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match within(
            SOON,
            "an append that is sent again",
            log.append(customer, event.clone()),
        )
        .await?
        {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).or_observed(format!(
            "an event whose answer was lost failed {ATTEMPTS} times more"
        )),
        None => Ok(()),
    }
}
