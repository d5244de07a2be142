//! What an event costs.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use cpu_spike_hidden::model::Model;
use cpu_spike_hidden::subject::{Action, Pipeline};
use cpu_spike_hidden::traffic::{self, rule};
use cpu_spike_hidden::{reference, subject};
use harness::alloc::{self, Heap};
use harness::{Check, Failure, OrObserved, Outcome, instructions};
use tokio::sync::{mpsc, watch};

use crate::observe::{answered, pipeline};

/// The ratio up to which another shape of a fix is as good.
const RATIO_MAX: f64 = 4.0;

/// One pipeline of each side does the same work: the macro bridges their types.
macro_rules! worker {
    ($side:ident, $events:expr) => {{
        let rules = traffic::rules().into_iter().map(|rule| $side::RuleSpec {
            name: rule.name,
            field: rule.field,
            pattern: rule.pattern,
            action: match rule.action {
                Action::Flag => $side::Action::Flag,
                Action::Block => $side::Action::Block,
            },
        });
        let pipeline = $side::Pipeline::new(rules.collect())
            .or_observed("Pipeline::new refused rules that are in order")?;
        let mut out = Vec::with_capacity(16 << 10);
        move || {
            out.clear();
            for raw in $events {
                black_box(pipeline.process(raw, &mut out)).ok();
            }
        }
    }};
}

pub async fn every_event(cx: &Check) -> Outcome {
    let events = &traffic::events(&mut cx.rng("counted events"), 12);
    let compared = instructions::compare(
        cx,
        RATIO_MAX,
        worker!(subject, events),
        worker!(reference, events),
    )?;
    cx.measure("work_per_event", compared.ratio);
    cx.method("work_per_event", compared.how.as_str());
    cx.explain(
        "work_per_event",
        "An event costs several times the work that it needs: something is done per event that depends on the rules \
         alone, or the text is read more often than once or twice.",
        ["12 events of an ordinary day, 6 rules, one thread, everything warm"],
    );

    cx.stage("every event of one tenant");
    let rules = vec![rule(
        "admin area",
        "body.path",
        "^/(admin|internal)(/|$)",
        Action::Block,
    )];
    let (subject, model) = (pipeline(&rules)?, Model::new(&rules));
    let mut rng = cx.rng("events");
    (0..1500).try_for_each(|_| {
        answered(
            &subject,
            &model,
            traffic::event_of(&mut rng, "acme").as_bytes(),
            "Verdicts differ from the specification: every event is validated and judged, also the thousandth of one \
             tenant.",
        )
    })
}

pub async fn warm(cx: &Check) -> Outcome {
    let rules = traffic::rules();
    let (subject, model) = (Arc::new(pipeline(&rules)?), Model::new(&rules));
    let events = traffic::events(&mut cx.rng("events"), 128);
    let because = "An answer depends on the event and on the rules in force, not on events that came before.";
    let ask = || {
        events
            .iter()
            .try_for_each(|raw| answered(&subject, &model, raw, because))
    };
    ask()?;
    one_by_one(cx, &subject, &events)?;
    passed_on(cx, &subject, &events).await?;
    cx.stage("the same events again");
    ask()
}

/// Everything warm, the caller's buffer used again.
fn one_by_one(cx: &Check, subject: &Pipeline, events: &[Bytes]) -> Outcome {
    cx.stage("events one by one");
    let mut out = Vec::with_capacity(4 << 10);
    let (mut allocations, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        for raw in events {
            out.clear();
            subject.process(raw, &mut out).ok();
        }
        let heap = alloc::process();
        allocations.push(heap.allocations as f64);
        bytes.push(heap.bytes as f64);
    }
    let units = events.len() as u64;
    cx.measure(
        "allocations_per_event",
        alloc::slope(units, &allocations)?.per_unit,
    );
    cx.explain(
        "allocations_per_event",
        "The cost is building what is thrown away at once: a tree of values, copies of rules and texts, patterns that are \
         compiled again; not the parser's speed.",
        ["128 events of an ordinary day, 6 rules, everything warm, the caller's buffer used again"],
    );
    cx.measure("bytes_per_event", alloc::slope(units, &bytes)?.per_unit);
    cx.explain(
        "bytes_per_event",
        "Few allocations can still be many bytes: a buffer for the largest event, for each of them, costs its zeroes and \
         its pages.",
        ["128 events of about 300 bytes each, everything warm, the caller's buffer used again"],
    );
    Ok(())
}

/// The same through a batch and through a stream, which give each event a buffer of its own to keep.
async fn passed_on(cx: &Check, subject: &Arc<Pipeline>, events: &[Bytes]) -> Outcome {
    let mut ways = Vec::new();
    cx.stage("events in a batch");
    let batch = async || {
        black_box(subject.process_batch(events.to_vec()).await);
        Ok(())
    };
    ways.push(("a batch", cost(events.len(), batch).await?));
    cx.stage("events in a stream");
    let (sender, rx) = mpsc::channel(16);
    let (_rules, rules_rx) = watch::channel(traffic::rules());
    let (tx, mut passed) = mpsc::channel(16);
    let stream = tokio::spawn({
        let subject = Arc::clone(subject);
        async move { subject.run(rx, rules_rx, tx).await }
    });
    let through = async || {
        for raw in events {
            let sent = sender.send(raw.clone()).await.is_ok();
            let event = if sent { passed.recv().await } else { None };
            event.or_observed("run() ended while events were still coming")?;
        }
        Ok(())
    };
    ways.push(("a stream", cost(events.len(), through).await?));
    drop(sender);
    stream.await.or_observed("run() panicked")?;
    for (metric, of) in [
        (
            "allocations_per_event_passed_on",
            (|heap| heap.0) as fn((f64, f64)) -> f64,
        ),
        ("bytes_per_event_passed_on", |heap| heap.1),
    ] {
        let (way, most) = ways
            .iter()
            .map(|(way, cost)| (*way, of(*cost)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or_default();
        cx.measure(metric, most);
        cx.explain(
            metric,
            "Batches and streams do per event what is done once, or hand out buffers far larger than what is in them.",
            [format!("the dearer of a batch and a stream was {way}")],
        );
    }
    Ok(())
}

/// Allocations and bytes per event: the cheapest of three rounds, after one to get warm. What others allocate now and then
/// is none of the subject's.
async fn cost(events: usize, mut round: impl AsyncFnMut() -> Outcome) -> Result<(f64, f64), Failure> {
    round().await?;
    let mut cheapest: Option<Heap> = None;
    for _ in 0..3 {
        let before = alloc::process();
        round().await?;
        let spent = alloc::process() - before;
        cheapest = Some(cheapest.map_or(
            spent,
            |least| if spent.bytes < least.bytes { spent } else { least },
        ));
    }
    let heap = cheapest.unwrap_or_default();
    Ok((
        heap.allocations as f64 / events as f64,
        heap.bytes as f64 / events as f64,
    ))
}
