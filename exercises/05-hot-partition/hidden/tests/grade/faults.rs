//! One request of many fails, or one key is refused again and again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use harness::dynamodb::{Refusal, Request};
use harness::{Check, Failure, Outcome, within};
use hot_partition_hidden::stage::{LONG, SOON, Stage, done};
use hot_partition_hidden::subject::{Event, EventLog, Result as LogResult};
use hot_partition_hidden::traffic::SMALL;

const WHOLE: &str = "A part that could not be read was left out as if it had been empty: who reads must be told, or the part \
                     be read again.";

/// How often a key is refused before it is served: who tries again has done so more than once by then.
const REFUSALS: usize = 3;

/// For who tries again at growing intervals.
const PATIENT: Duration = Duration::from_secs(25);

/// What is asked, and what it says when nothing is wrong.
#[derive(Clone, Copy, Debug)]
enum Question<'a> {
    Page(&'a [Event]),
    Total(u64),
    One(&'a Event),
}

pub async fn whole(cx: &Check) -> Outcome {
    let stage = Stage::with_shards(cx, 8).await?;
    let newer = stage.events(24);
    for customer in [stage.big, SMALL[0]] {
        stage.append_all(&stage.instance(), customer, &newer).await?;
        let all = stage.all(&newer);
        let questions = [
            Question::Page(&all[..50]),
            Question::Total(all.len() as u64),
            Question::One(&newer[3]),
            Question::One(&stage.history[3]),
        ];
        for question in questions {
            cx.stage(format!(
                "asking for {} of {customer} while requests fail",
                question.words()
            ));
            // At a tap of its own: whoever has written may still be busy in the background.
            let (log, tap) = stage.instance_apart(stage.cfg(LONG))?;
            question.is_answered(&log, customer).await?;
            let asked = tap.requests_after(0);
            let keys: BTreeSet<String> = asked
                .iter()
                .flat_map(|request| &request.accesses)
                .map(|access| access.partition_key.clone())
                .collect();
            let starving = keys.into_iter().map(async |key| {
                let told = format!(
                    "the first {REFUSALS} requests for what lies under {key} were refused, or left it out"
                );
                starved(&stage, customer, question, key)
                    .await
                    .map_err(|failure| failure.evidence(told))
            });
            try_join_all(starving).await?;
            let requests = tap.counts().requests;
            for k in 1..=requests {
                for refusal in [Refusal::Unavailable, Refusal::Throttled] {
                    let told = format!("request {k} of {requests} was refused: {refusal:?}");
                    disturbed(&stage, customer, question, k, refusal)
                        .await
                        .map_err(|failure| failure.evidence(told))?;
                }
            }
        }
    }
    Ok(())
}

/// A key on a partition that is busy for a while: of a batch, it is left out once more each time.
async fn starved(stage: &Stage, customer: &str, question: Question<'_>, key: String) -> Outcome {
    let (log, tap) = stage.instance_apart(stage.cfg(LONG))?;
    let seen = AtomicUsize::new(0);
    let busy = tap.answer_instead(move |request| {
        let out = left_out(request, &key)?;
        (seen.fetch_add(1, Ordering::SeqCst) < REFUSALS).then_some(Refusal::LeftOut(out))
    });
    let asked = within(PATIENT, "an answer or an error", question.ask(&log, customer)).await?;
    drop(busy);
    if let Ok(answer) = asked {
        question.is_right(&answer)?;
    }
    question.is_answered(&log, customer).await
}

/// `key`, and with it all but half of the others, so that what is asked for again is not `key` alone. `None` for a request
/// that has nothing to do with it.
fn left_out(request: &Request, key: &str) -> Option<Vec<bool>> {
    let accesses = &request.accesses;
    let others = accesses
        .iter()
        .filter(|access| access.partition_key != key)
        .count();
    if others == accesses.len() {
        return None;
    }
    let mut served = others.div_ceil(2);
    let out = accesses.iter().map(|access| {
        let serve = access.partition_key != key && served > 0;
        served -= usize::from(serve);
        !serve
    });
    Some(out.collect())
}

async fn disturbed(
    stage: &Stage,
    customer: &str,
    question: Question<'_>,
    k: u64,
    refusal: Refusal,
) -> Outcome {
    // Nothing is known yet, and nothing cached.
    let (log, tap) = stage.instance_apart(stage.cfg(LONG))?;
    let refused = tap.refuse_the(k, refusal);
    let asked = within(SOON, "an answer or an error", question.ask(&log, customer)).await?;
    drop(refused);
    if let Ok(answer) = asked {
        question.is_right(&answer)?;
    }
    // What failed once must not be remembered as an answer.
    question.is_answered(&log, customer).await
}

#[derive(Debug)]
enum Said {
    Page(Vec<Event>),
    Total(u64),
    One(Option<Event>),
}

impl Question<'_> {
    fn words(self) -> &'static str {
        match self {
            Question::Page(_) => "a page",
            Question::Total(_) => "the total",
            Question::One(_) => "one event",
        }
    }

    async fn ask(self, log: &Arc<EventLog>, customer: &str) -> LogResult<Said> {
        Ok(match self {
            Question::Page(events) => Said::Page(log.recent(customer, events.len(), None).await?.events),
            Question::Total(_) => Said::Total(log.total(customer).await?),
            Question::One(event) => Said::One(log.get(customer, event.id).await?),
        })
    }

    async fn is_answered(self, log: &Arc<EventLog>, customer: &str) -> Outcome {
        let said = done(self.words(), self.ask(log, customer)).await?;
        self.is_right(&said)
    }

    fn is_right(self, said: &Said) -> Outcome {
        let observed = match (self, said) {
            (Question::Page(expected), Said::Page(shown)) if shown != expected => {
                format!(
                    "a page holds {} events that differ from the {} newest",
                    shown.len(),
                    expected.len()
                )
            }
            (Question::Total(expected), Said::Total(shown)) if *shown != expected => {
                format!("the total is {shown} where there are {expected} events")
            }
            (Question::One(expected), Said::One(shown)) if shown.as_ref() != Some(expected) => {
                format!("get says {shown:?} for an event that is there")
            }
            _ => return Ok(()),
        };
        Err(Failure::new(observed).because(WHOLE))
    }
}
