//! `run`: events from a channel, rules from another.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cpu_spike_hidden::json::Json;
use cpu_spike_hidden::model::{Answer, Model};
use cpu_spike_hidden::subject::{Action, Pipeline, RuleSpec, RunStats};
use cpu_spike_hidden::traffic::{self, rule};
use harness::polls::{Polls, parks};
use harness::ratio::process_cpu;
use harness::{Check, Failure, OrObserved, Outcome, ensure};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::observe::{pipeline, same};

/// Liveness; real time, also where tokio's clock stands still.
const PATIENCE: Duration = Duration::from_secs(20);
/// Polls after which nobody needs to know more.
const SPINS: u64 = 200;
/// What a slow reader leaves to others before each event.
const TURNS: usize = 16;
/// An idle process uses no CPU to speak of.
const CPU_IDLE_MAX: Duration = Duration::from_secs(2);

/// A stream at work, and all its ends.
struct Stream {
    events: mpsc::Sender<Bytes>,
    rules: watch::Sender<Vec<RuleSpec>>,
    passed: mpsc::Receiver<Bytes>,
    run: JoinHandle<RunStats>,
    polls: Polls,
}

impl Stream {
    fn start(subject: Arc<Pipeline>, rules: &[RuleSpec], room: [usize; 2]) -> Stream {
        let (events, rx) = mpsc::channel(room[0]);
        let (rules, rules_rx) = watch::channel(rules.to_vec());
        let (tx, passed) = mpsc::channel(room[1]);
        let polls = Polls::new();
        let run = tokio::spawn(polls.of(async move { subject.run(rx, rules_rx, tx).await }));
        Stream {
            events,
            rules,
            passed,
            run,
            polls,
        }
    }
}

/// Sends an event.
async fn send(cx: &Check, events: &mpsc::Sender<Bytes>, raw: &Bytes, because: &str) -> Outcome {
    let sent = soon(cx, "room for another event", events.send(raw.clone())).await?;
    sent.map_err(|_| Failure::new("run() ended while events were still coming").because(because))
}

/// What is passed on for it.
async fn take(cx: &Check, passed: &mut mpsc::Receiver<Bytes>, because: &str) -> Result<Bytes, Failure> {
    let event = soon(cx, "an event that run() passes on", passed.recv()).await?;
    event.ok_or_else(|| Failure::new("run() ended while events were still coming").because(because))
}

/// The future's output, unless it takes longer than anybody would wait. The alarm has a clock of its own.
async fn soon<T>(cx: &Check, what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
    let alarm = cx.harness_spawn(async { tokio::time::sleep(PATIENCE).await });
    tokio::select! {
        output = future => Ok(output),
        _ = alarm.join() => Err(Failure::new(format!("{what} did not come within {PATIENCE:?}"))),
    }
}

fn as_expected(model: &Model, raw: &[u8], passed: &[u8], because: &str) -> Outcome {
    match model.answer(raw) {
        Answer::Passed(verdict, event) => {
            same(&Answer::Passed(verdict, event), Ok(verdict), passed, raw, because)
        }
        Answer::Rejected(reject) => Err(Failure::environment(format!(
            "the check sent an event that is {reject:?}"
        ))),
    }
}

pub async fn outlives(cx: &Check) -> Outcome {
    const DEAD: &str = "A dead config source must not stop event processing: the last rules stay in force.";
    let rules = vec![rule("test tenant", "tenant", "^test-", Action::Flag)];
    let (subject, model) = (Arc::new(pipeline(&rules)?), Model::new(&rules));
    let Stream {
        events,
        rules,
        mut passed,
        run,
        polls,
    } = Stream::start(subject, &rules, [64, 64]);
    let raw = traffic::events(&mut cx.rng("events"), 1000);
    for raw in &raw[..10] {
        send(cx, &events, raw, DEAD).await?;
        as_expected(&model, raw, &take(cx, &mut passed, DEAD).await?, "")?;
    }
    cx.stage("a second without events or rules");
    drop(rules);
    let turns = idle_turns(cx, &polls).await;
    cx.measure("turns_of_an_idle_stream", turns as f64);
    cx.explain(
        "turns_of_an_idle_stream",
        "The loop still wakes for a channel that will never change again: a closed channel is ready for ever.",
        [format!(
            "within one second without an event, on a clock that moves only when everybody waits, run() or what it \
             started was woken {turns} times{}",
            if turns >= SPINS { "; then nobody counted any more" } else { "" }
        )],
    );
    cx.stage("1000 events after the sender of rules was dropped");
    for chunk in raw.chunks(50) {
        for raw in chunk {
            send(cx, &events, raw, DEAD).await?;
        }
        for raw in chunk {
            as_expected(&model, raw, &take(cx, &mut passed, DEAD).await?, DEAD)?;
        }
    }
    cx.stage("the end of the events");
    drop(events);
    let stats = soon(cx, "the end of run() after its events", run).await?;
    let stats = stats.or_observed("run() panicked")?;
    ensure!(
        stats.processed == 1010 && stats.rejected == 0,
        "The statistics count what was passed on and what was not.",
        "1010 events were passed on, run() says {stats:?}"
    );
    Ok(())
}

/// How often a stream with nothing to do is woken within a second, up to [`SPINS`].
async fn idle_turns(cx: &Check, polls: &Polls) -> u64 {
    let begun = (polls.seen(), parks(), process_cpu());
    // What spins in a task of its own is seen in no poll of `run`, and on this thread nobody's clock moves for it.
    let busy = cx.harness_spawn(async move {
        while process_cpu().saturating_sub(begun.2) < CPU_IDLE_MAX {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(1)) => {
            // The sleep's own wake-ups are among the parks.
            let woken = parks().saturating_sub(begun.1).saturating_sub(3);
            (polls.seen() - begun.0).max(woken).min(SPINS)
        }
        () = polls.reach(begun.0 + SPINS) => SPINS,
        _ = busy.join() => SPINS,
    }
}

pub async fn takes_rules(cx: &Check) -> Outcome {
    let colour = |name: &str| vec![rule(name, "tenant", "", Action::Flag)];
    let subject = Arc::new(pipeline(&colour("red"))?);
    let Stream {
        events,
        rules,
        mut passed,
        run,
        ..
    } = Stream::start(subject, &colour("red"), [4, 4]);
    let raw: Bytes = traffic::event(&mut cx.rng("events")).into();
    let ends = "A set that cannot be used is no reason to end: those in force stay.";
    let mut name = async |because: &str| {
        send(cx, &events, &raw, because).await?;
        let event = Json::parse(&take(cx, &mut passed, because).await?);
        let found = event
            .as_ref()
            .and_then(|event| event.get("gatekeeper")?.get("rules"));
        Ok::<_, Failure>(found.map(|rules| rules.to_string()).unwrap_or_default())
    };
    ensure!(
        name("").await? == "[\"red\"]",
        "The first rules are those of the pipeline.",
        "other rules held"
    );

    for (stage, sets, expected) in [
        ("one set", vec![colour("blue")], "[\"blue\"]"),
        (
            "three sets at once",
            vec![colour("a"), colour("b"), colour("green")],
            "[\"green\"]",
        ),
        (
            "a set that is refused",
            vec![vec![rule("bad", "tenant", "(", Action::Flag)]],
            "[\"green\"]",
        ),
        (
            "a set after one that was refused",
            vec![colour("white")],
            "[\"white\"]",
        ),
    ] {
        cx.stage(stage);
        sets.into_iter().for_each(|set| drop(rules.send(set)));
        soon(cx, "an event that met the new rules", async {
            while name(ends).await? != expected {}
            Ok::<_, Failure>(())
        })
        .await?
        .map_err(|failure: Failure| failure.evidence(format!("after {stage}")))?;
        for _ in 0..20 {
            let told = name(ends).await?;
            ensure!(
                told == expected,
                "Once rules are in force they stay so until the next good set.",
                "after {stage} an event met {expected}, and a later one {told}"
            );
        }
    }

    cx.stage("a set whose sender is dropped at once");
    rules.send(colour("last")).ok();
    drop(rules);
    soon(cx, "an event that met the last rules", async {
        while name(ends).await? != "[\"last\"]" {}
        Ok::<_, Failure>(())
    })
    .await
    .map_err(|failure| {
        failure.because(
            "A sender that has gone leaves its last set behind: that the channel is closed is an error, and what is in \
             it still has to be read.",
        )
    })?
    .map_err(|failure: Failure| {
        failure.evidence("the last set was sent just before the sender was dropped")
    })?;
    drop(events);
    soon(cx, "the end of run() after its events", run)
        .await?
        .or_observed("run() panicked")?;
    beside_a_backlog(cx).await
}

/// A set that is sent while there is always another event. How long its rules take to be built is the pipeline's affair.
async fn beside_a_backlog(cx: &Check) -> Outcome {
    /// More than tokio lets a task take at one turn.
    const BACKLOG: usize = 4096;
    const SOME_TIME: Duration = Duration::from_secs(8);
    cx.stage("a set beside a backlog");
    let named = |name: &str| vec![rule(name, "tenant", "", Action::Flag)];
    let subject = Arc::new(pipeline(&named("old"))?);
    let Stream {
        events,
        rules,
        mut passed,
        run,
        ..
    } = Stream::start(subject, &named("old"), [BACKLOG, BACKLOG]);
    let raw: Bytes = traffic::event(&mut cx.rng("events")).into();
    while events.try_send(raw.clone()).is_ok() {}
    rules.send(named("new")).ok();
    let alarm = cx.harness_spawn(async { tokio::time::sleep(SOME_TIME).await });
    let mut alarm = std::pin::pin!(alarm.join());
    for number in 0_usize.. {
        let event = tokio::select! {
            event = passed.recv() => event.or_observed("run() ended while events were still coming")?,
            _ = &mut alarm => {
                return Err(Failure::new(format!(
                    "a set of rules was sent, and none of the {number} events that were passed on in the {SOME_TIME:?} after that \
                     met it; there was always another event"
                ))
                .because("Events come first at every turn: with a backlog that never ends nobody looks at the rules."));
            }
        };
        while events.try_send(raw.clone()).is_ok() {}
        let found = Json::parse(&event);
        let found = found
            .as_ref()
            .and_then(|event| event.get("gatekeeper")?.get("rules"));
        if found.is_some_and(|rules| rules.to_string() == "[\"new\"]") {
            break;
        }
    }
    drop((events, passed));
    soon(cx, "the end of run()", run)
        .await?
        .or_observed("run() panicked")?;
    Ok(())
}

pub async fn loses_nothing(cx: &Check) -> Outcome {
    const LOST: &str = "What was sent before the channel was closed is still in it: `run` ends when it is closed and empty, \
                        and waits for room where its reader is slow.";
    let rules = traffic::rules();
    let (subject, model) = (Arc::new(pipeline(&rules)?), Model::new(&rules));
    let room = cx.draw("room for what is passed on", &[1, 2, 7]);
    let mut raw = traffic::events(&mut cx.rng("events"), 120);
    for index in (0..raw.len()).step_by(10) {
        raw[index] = raw[index].slice(..raw[index].len() - 1);
    }
    for config_is_dead in [false, true] {
        cx.stage(format!(
            "120 events in the channel, the sender of rules dropped before: {config_is_dead}"
        ));
        let Stream {
            events,
            rules,
            mut passed,
            run,
            ..
        } = Stream::start(Arc::clone(&subject), &rules, [128, room]);
        let rules = (!config_is_dead).then_some(rules);
        for raw in &raw {
            send(cx, &events, raw, LOST).await?;
        }
        drop(events);
        for raw in raw
            .iter()
            .enumerate()
            .filter(|(index, _)| index % 10 != 0)
            .map(|(_, raw)| raw)
        {
            // The reader is slower than the stream. By turns: a clock that stands still for whoever spins tells nothing here.
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            as_expected(&model, raw, &take(cx, &mut passed, LOST).await?, LOST)?;
        }
        let more = soon(cx, "the end of what run() passes on", passed.recv()).await?;
        ensure!(
            more.is_none(),
            "Each event is passed on once.",
            "after the last event came another"
        );
        let stats = soon(cx, "the end of run() after its events", run).await?;
        let stats = stats.or_observed("run() panicked")?;
        ensure!(
            (stats.processed, stats.rejected) == (108, 12),
            "The statistics count what was passed on and what was not.",
            "108 events were passed on and 12 rejected, run() says {stats:?}"
        );
        drop(rules);
    }

    cx.stage("nobody reads any more");
    let Stream {
        events,
        rules,
        passed,
        run,
        ..
    } = Stream::start(subject, &rules, [4, 1]);
    drop(passed);
    // The first that it tries to pass on may be the one that tells it.
    for raw in raw.iter().skip(1).take(3) {
        events.send(raw.clone()).await.ok();
    }
    soon(cx, "the end of run() when nobody reads what it passes on", run)
        .await?
        .or_observed("run() panicked")?;
    drop((events, rules));
    Ok(())
}
