//! Pages while somebody writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{Check, OrObserved, Outcome, within};
use hot_partition_hidden::reader;
use hot_partition_hidden::stage::{SOON, Stage};
use hot_partition_hidden::traffic::SMALL;

/// With the history it makes twenty pages of thirteen.
const EVENTS: usize = 200;
const LIMIT: usize = 13;

const ONCE: &str = "What was there when a reader began has to be on exactly one of its pages.";

pub async fn in_order(cx: &Check) -> Outcome {
    let stage = Arc::new(Stage::set(cx).await?);
    let log = stage.instance();
    let events = stage.events(EVENTS);
    for customer in [stage.big, SMALL[0]] {
        cx.stage(format!("filling the log of {customer}"));
        stage.append_all(&log, customer, &events).await?;
        let over = Arc::new(AtomicBool::new(false));
        let (writing, writer, until) = (stage.clone(), stage.instance(), over.clone());
        let writes = tokio::spawn(async move {
            let mut written = Vec::new();
            while !until.load(Ordering::SeqCst) {
                let event = writing.event();
                writing
                    .append_all(&writer, customer, std::slice::from_ref(&event))
                    .await?;
                written.push(event);
            }
            Ok::<_, harness::Failure>(written)
        });
        cx.stage(format!("reading the log of {customer} while it grows"));
        let read = reader::everything(&stage.instance(), customer, LIMIT, 50 * LIMIT).await;
        over.store(true, Ordering::SeqCst);
        let written = within(SOON, "the writer's end", writes).await?;
        let written = written.or_observed("the writer panicked")??;
        let shown = read?;
        reader::in_order(&shown)?;
        reader::holds(&shown, &stage.all(&events), ONCE)?;

        cx.stage(format!("reading the log of {customer} once it is quiet"));
        let all: Vec<_> = events.iter().chain(&written).cloned().collect();
        let expected = stage.all(&all);
        let shown = reader::everything(&stage.instance(), customer, LIMIT, expected.len()).await?;
        reader::shows(&shown, &expected, ONCE)?;
    }
    Ok(())
}
