//! What rules leave behind when they are replaced.

use cpu_spike_hidden::model::Model;
use cpu_spike_hidden::subject::{Action, RuleSpec};
use cpu_spike_hidden::traffic::{self, rule};
use harness::{Check, OrObserved, Outcome, alloc, ensure};

use crate::observe::{answered, pipeline, processed};

const RELOADS: usize = 2000;
/// Bookkeeping that does not depend on the number of reloads.
const SLACK_BYTES: i64 = 64 << 10;

/// A set of some size: patterns with classes of Unicode take room. Twice as much is far less than what the small sets that
/// follow take in sum.
fn large() -> Vec<RuleSpec> {
    let fields = ["body.path", "body.agent", "tenant", "trace"];
    (0..4)
        .map(|n| {
            rule(
                &format!("large-{n}"),
                fields[n % 4],
                &format!(r"(?i)\bword{n}\w{{1,8}}$"),
                Action::Flag,
            )
        })
        .collect()
}

pub async fn given_back(cx: &Check) -> Outcome {
    let rules = large();
    let events = traffic::events(&mut cx.rng("events"), 6);
    let tenant = cx.rng("tenant").u32(..1000);
    let before = alloc::settled().await;
    let subject = pipeline(&rules)?;
    let work = || {
        events.iter().for_each(|raw| drop(processed(&subject, raw)));
    };
    work();
    let one = (alloc::settled().await - before).live_bytes;
    cx.stage(format!("{RELOADS} reloads"));
    for n in 0..RELOADS {
        let small = vec![rule(
            "small",
            "tenant",
            &format!("^tenant-{tenant}-{n}-[a-f]"),
            Action::Block,
        )];
        subject
            .reload(small)
            .or_observed("reload() refused rules that are in order")?;
        drop(processed(&subject, &events[n % events.len()]));
    }
    subject
        .reload(rules.clone())
        .or_observed("reload() refused rules that are in order")?;
    work();
    let kept = (alloc::settled().await - before).live_bytes;
    ensure!(
        kept <= 2 * one + SLACK_BYTES,
        "Tenant-supplied patterns make this cache a leak: what was compiled for rules that are no longer in force is \
         still held.",
        "{} KiB are held after {RELOADS} reloads, {} KiB were with the same rules before them",
        kept / 1024,
        one / 1024
    );
    let model = Model::new(&rules);
    events.iter().try_for_each(|raw| {
        answered(
            &subject,
            &model,
            raw,
            "After two thousand reloads the last rules are in force.",
        )
    })
}
