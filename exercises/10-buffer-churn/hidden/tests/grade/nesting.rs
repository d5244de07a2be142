//! Callers whose code comes back: a sink that includes another document, a value that is looked up in one.

use std::sync::{Arc, Mutex};

use buffer_churn_hidden::subject::{Live, Render};
use buffer_churn_hidden::traffic::{self, Doc};
use harness::{Check, Failure, Outcome, ensure};
use tokio::runtime::Handle;

use crate::cost::{renderer, settings};
use crate::failures::Way;
use crate::meeting::aside;
use crate::tray::{Tray, rendered};

const STUCK: &str = "Something is locked or borrowed while a caller's code runs, and that code came back for the same thing: one \
                     body at a time is not enough when a body may hold another.";

/// One length for all: what a short body finds after a long one is another check's business.
const LENGTH: usize = 3000;

pub async fn nested(cx: &Check) -> Outcome {
    let cfg = settings(cx);
    let depth = cx.draw("depth", &[2, 3, 5]);
    let docs: Vec<_> = (0..depth).map(|n| traffic::doc(n, LENGTH)).collect();
    let runtime = Handle::current();
    let sinks = aside("rendering within a sink", {
        let (render, docs) = (renderer(&cfg), docs.clone());
        move || {
            for _ in 0..50 {
                includes(&render, &docs)?;
            }
            // Whatever was used within is not given to two at once afterwards.
            let mut tray = Tray::of(&docs[0]);
            (0..100).try_for_each(|n| rendered(&render, &docs[n % docs.len()], &mut tray))
        }
    });
    sinks.join(STUCK)?;
    let looked_up = aside("rendering within a look-up", {
        let render = renderer(&cfg);
        move || {
            for n in 0..50 {
                for way in Way::BOTH {
                    looks_up(&render, &runtime, way, &docs[n % docs.len()])?;
                }
            }
            Ok(())
        }
    });
    looked_up.join(STUCK)
}

/// Renders the first document; its sink renders the others, one within the other, before it looks at its first piece.
fn includes(render: &Render, docs: &[Arc<Doc>]) -> Outcome {
    let Some((doc, others)) = docs.split_first() else {
        return Ok(());
    };
    let mut tray = Tray::of(doc);
    let mut included = None;
    let said = render.render_into(&doc.req, &mut |piece| {
        if included.is_none() {
            included = Some(includes(render, others));
        }
        tray.take(piece);
        Ok(())
    });
    included.unwrap_or(Ok(()))?;
    tray.holds(said)
}

/// A document one of whose values is the length of another one's body.
fn looks_up(render: &Arc<Render>, runtime: &Handle, way: Way, other: &Arc<Doc>) -> Outcome {
    let found = Arc::new(Mutex::new(None));
    let live = {
        let (render, other, found) = (Arc::clone(render), Arc::clone(other), Arc::clone(&found));
        Live::new("length", move || {
            let mut tray = Tray::of(&other);
            let inner = rendered(&render, &other, &mut tray);
            if let Ok(mut found) = found.lock() {
                *found = Some(inner);
            }
            Ok(tray.taken() as u64)
        })
    };
    let doc = traffic::with_live(77, LENGTH, vec![live], &[LENGTH as u64]);
    let mut tray = Tray::of(&doc);
    let outer = way.ask(render, runtime, &doc, &mut tray);
    let found = found.lock().ok().and_then(|mut found| found.take());
    ensure!(
        found.is_some(),
        "A live value is looked up when its document is rendered.",
        "a document was rendered and its value was not looked up"
    );
    found.unwrap_or_else(|| Err(Failure::new("no value was looked up")))?;
    outer
}
