//! Rules that are replaced while events are processed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use cpu_spike_hidden::model::{Answer, Model};
use cpu_spike_hidden::subject::{Action, Pipeline, RuleSpec};
use cpu_spike_hidden::traffic::{self, rule};
use harness::{Check, Failure, OrObserved, Outcome, ensure};

use crate::observe::{answered, pipeline, processed};

const THREADS: usize = 4;

/// Four rules of one shape: sets that differ in `letter` alone have names and patterns of the same lengths.
fn set(letter: char, field: &str, action: Action) -> Vec<RuleSpec> {
    ["one", "two", "six", "ten"]
        .iter()
        .map(|name| rule(&format!("{letter}-{name}"), field, &format!("^/{letter}"), action))
        .collect()
}

/// Events that the rules above tell apart.
fn probes() -> Vec<String> {
    let view = |path: &str, agent: &str| {
        format!(r#"{{"id":1,"tenant":"t","at":2,"body":{{"path":"{path}","agent":"{agent}"}}}}"#)
    };
    vec![view("/a", "/b"), view("/b", "/a"), view("/x", "/x")]
}

/// A rule set that every thread has to see, after others that nobody saw.
struct Step {
    what: String,
    unseen: Vec<Vec<RuleSpec>>,
    rules: Vec<RuleSpec>,
}

fn steps(cx: &Check) -> Vec<Step> {
    let base = set('a', "body.path", Action::Flag);
    let step = |what: &str, rules: Vec<RuleSpec>| Step {
        what: what.to_owned(),
        unseen: Vec::new(),
        rules,
    };
    let renamed = base.iter().map(|spec| RuleSpec {
        name: format!("new {}", spec.name),
        ..spec.clone()
    });
    let mut grown = base.clone();
    grown.push(rule("more", "tenant", "t", Action::Block));
    let same_names = base.iter().map(|spec| RuleSpec {
        pattern: "^/b".to_owned(),
        ..spec.clone()
    });
    let mut steps = vec![
        step("the first set", base.clone()),
        step("the same names with other patterns", same_names.collect()),
        step("the first set again", base.clone()),
        step(
            "the same patterns on another field",
            set('a', "body.agent", Action::Flag),
        ),
        step(
            "the same patterns with another action",
            set('a', "body.path", Action::Block),
        ),
        step("the same patterns with other names", renamed.collect()),
        step(
            "the same rules in another order",
            base.iter().rev().cloned().collect(),
        ),
        step("one rule more", grown),
        step("no rules", Vec::new()),
        step("the first set after none", base),
    ];
    let mut rng = cx.rng("steps");
    for round in 0..40 {
        let letter = |n: usize| ['a', 'b'][n % 2];
        let unseen = (0..rng.usize(0..4)).map(|n| set(letter(n + round), "body.path", Action::Block));
        steps.push(Step {
            what: format!("a set of the same shape, round {round}"),
            unseen: unseen.collect(),
            rules: set(letter(round), "body.path", Action::Flag),
        });
    }
    steps
}

pub async fn every_thread(cx: &Check) -> Outcome {
    let steps = steps(cx);
    let subject = pipeline(&steps[0].rules)?;
    let (subject, steps) = (&subject, &steps);
    thread::scope(|scope| {
        let workers: Vec<(Sender<usize>, Receiver<Outcome>)> = (0..THREADS)
            .map(|_| {
                let ((ask, asked), (tell, told)) = (channel(), channel());
                scope.spawn(move || {
                    let _ended = asked
                        .iter()
                        .try_for_each(|step: usize| tell.send(look(subject, &steps[step])));
                });
                (ask, told)
            })
            .collect();
        for (index, step) in steps.iter().enumerate() {
            cx.stage(format!("reload: {}", step.what));
            for rules in step.unseen.iter().chain([&step.rules]) {
                subject
                    .reload(rules.clone())
                    .or_observed("reload() refused rules that are in order")?;
            }
            look(subject, step)?;
            for (ask, _) in &workers {
                ask.send(index).ok();
            }
            for (_, told) in &workers {
                told.recv().ok().or_observed("process() panicked")??;
            }
        }
        Ok(())
    })
}

fn look(subject: &Pipeline, step: &Step) -> Outcome {
    let model = Model::new(&step.rules);
    for raw in probes() {
        answered(
            subject,
            &model,
            raw.as_bytes(),
            "The patterns are compiled once, but a reload is not seen: once `reload` has returned, the next event on every \
             thread meets the new rules.",
        )
        .map_err(|failure| failure.evidence(format!("after the reload to {}", step.what)))?;
    }
    Ok(())
}

pub async fn refused(cx: &Check) -> Outcome {
    let rules = set('a', "body.path", Action::Flag);
    let (subject, model) = (pipeline(&rules)?, Model::new(&rules));
    let pattern = cx.draw("bad pattern", &["(", "[a-", "*a", r"\p{Nope}", "a{2,1}"]);
    for at in [0, 2, 4] {
        let mut bad = set('b', "body.path", Action::Block);
        bad.insert(at, rule("bad", "tenant", pattern, Action::Flag));
        match subject.reload(bad.clone()) {
            Ok(()) => {
                return Err(
                    Failure::new(format!("reload() took the pattern {pattern:?}")).because(
                        "A rule that does not compile is refused when it comes, not when an event comes.",
                    ),
                );
            }
            Err(error) => ensure!(
                error.rule == "bad",
                "The author of a rule wants to know which one it was.",
                "the error names {:?}, not \"bad\"",
                error.rule
            ),
        }
        ensure!(
            Pipeline::new(bad).is_err(),
            "A pipeline is not made of rules that do not compile.",
            "Pipeline::new() took the pattern {pattern:?}"
        );
        let because = "A set with one bad rule is refused as a whole: all rules stay as they were.";
        let look = || {
            probes()
                .iter()
                .try_for_each(|raw| answered(&subject, &model, raw.as_bytes(), because))
        };
        look()?;
        thread::scope(|scope| scope.spawn(look).join().ok().or_observed("process() panicked")?)?;
    }
    subject
        .reload(set('b', "body.path", Action::Block))
        .or_observed("after a set that was refused, reload() refused one that is in order")?;
    let model = Model::new(&set('b', "body.path", Action::Block));
    probes().iter().try_for_each(|raw| {
        answered(
            &subject,
            &model,
            raw.as_bytes(),
            "After a refused set the next good one is in force.",
        )
    })
}

pub async fn one_set(_cx: &Check) -> Outcome {
    // Every rule holds, and each has a long text to look at, so that an event takes long enough to be overtaken.
    let of = |colour: &str, count: usize, action| -> Vec<RuleSpec> {
        let rules = (0..count).map(|n| rule(&format!("{colour}-{n}"), "body.path", "a9$", action));
        rules.collect()
    };
    let sets = [of("old", 8, Action::Flag), of("new", 5, Action::Block)];
    let raw = format!(
        r#"{{"id":1,"tenant":"t","at":2,"body":{{"path":"{}9","agent":"x"}}}}"#,
        "a".repeat(4000)
    );
    let expected: Vec<Answer> = sets
        .iter()
        .map(|set| Model::new(set).answer(raw.as_bytes()))
        .collect();
    let subject = pipeline(&sets[0])?;
    let (reloads, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        let mut events = 0;
        while events < 200 || !done.load(Ordering::Relaxed) {
            let (result, out) = processed(&subject, raw.as_bytes());
            if expected
                .iter()
                .all(|answer| answer.differs(result, &out).is_some())
            {
                let told = expected
                    .iter()
                    .filter_map(|answer| answer.differs(result, &out))
                    .collect::<Vec<_>>();
                return Err(Failure::new(format!(
                    "an event was judged by rules of two sets: {}",
                    told.join("; or, by the other set, ")
                ))
                .because(
                    "A set is taken out as a whole, once per event: what is read rule by rule, or in two halves, can be \
                     overtaken by a reload.",
                )
                .evidence(String::from_utf8_lossy(&out[4000.min(out.len())..]).into_owned()));
            }
            events += 1;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        let mut reloaded = Ok(());
        while reloads.load(Ordering::Relaxed) < 600
            && reloaded.is_ok()
            && !workers.iter().any(|worker| worker.is_finished())
        {
            let next = reloads.fetch_add(1, Ordering::Relaxed) + 1;
            reloaded = subject
                .reload(sets[next as usize % 2].clone())
                .or_observed("reload() refused rules that are in order");
        }
        done.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().ok().or_observed("process() panicked")??;
        }
        reloaded
    })
}

pub async fn independent(_cx: &Check) -> Outcome {
    let because =
        "Rules belong to their pipeline: what is kept per process or per thread is found by the wrong one.";
    let (a, b) = (
        set('a', "body.path", Action::Flag),
        set('b', "body.path", Action::Block),
    );
    let (first, second) = (pipeline(&a)?, pipeline(&b)?);
    let look = |subject: &Pipeline, rules: &[RuleSpec]| {
        let model = Model::new(rules);
        probes()
            .iter()
            .try_for_each(|raw| answered(subject, &model, raw.as_bytes(), because))
    };
    for _ in 0..4 {
        look(&first, &a)?;
        look(&second, &b)?;
    }
    first
        .reload(b.clone())
        .or_observed("reload() refused rules that are in order")?;
    look(&second, &b)?;
    look(&first, &b)?;
    second
        .reload(a.clone())
        .or_observed("reload() refused rules that are in order")?;
    look(&first, &b)?;
    look(&second, &a)?;
    drop((first, second));
    // One after the other in the same place.
    for round in 0..40 {
        let rules = if round % 2 == 0 { &a } else { &b };
        let subject = Box::new(pipeline(rules)?);
        look(&subject, rules)?;
    }
    look(&pipeline(&traffic::rules())?, &traffic::rules())
}
