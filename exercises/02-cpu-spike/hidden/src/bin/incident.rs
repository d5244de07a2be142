//! A Tuesday of `gatekeeper`, watched: `cargo xtask incident`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cpu_spike_hidden::subject::{Action, Pipeline, RuleSpec};
use cpu_spike_hidden::traffic::{self, rule};
use fastrand::Rng;
use oncall::{Shift, arrivals};
use tokio::sync::{mpsc, watch};

/// Requests per second, of all kinds.
const PER_SECOND: f64 = 120.0;
/// When the fraud desk adds its rules, and when the configuration service goes away.
const MORE_RULES_AFTER: Duration = Duration::from_secs(8);
const CONFIGURATION_GONE_AFTER: Duration = Duration::from_secs(15);
/// An export's batch.
const BATCH: usize = 200;

#[global_allocator]
static HEAP: oncall::Recording = oncall::Recording;

fn main() -> std::process::ExitCode {
    oncall::run(oncall::incident!(), traffic)
}

async fn traffic(shift: Shift) -> Result<(), String> {
    let pipeline = Arc::new(Pipeline::new(traffic::rules()).map_err(|error| error.to_string())?);
    let (events, inbox) = mpsc::channel::<Bytes>(64);
    let (configuration, rules) = watch::channel(traffic::rules());
    let (passed_on, mut outbox) = mpsc::channel::<Bytes>(64);
    let stream = pipeline.clone();
    tokio::spawn(async move { stream.run(inbox, rules, passed_on).await });
    tokio::spawn(async move { while outbox.recv().await.is_some() {} });
    tokio::spawn(async move {
        tokio::time::sleep(MORE_RULES_AFTER).await;
        configuration.send(busy_rules()).ok();
        tokio::time::sleep(CONFIGURATION_GONE_AFTER - MORE_RULES_AFTER).await;
        drop(configuration);
    });
    arrivals(&shift, PER_SECOND, move |rng, _| {
        let kind = match rng.u32(..1000) {
            0..100 => "health",
            100..300 => "streamed event",
            300..302 => "batch",
            _ => "event",
        };
        (kind, serve(kind, pipeline.clone(), events.clone(), rng.fork()))
    })
    .await
}

async fn serve(kind: &str, pipeline: Arc<Pipeline>, events: mpsc::Sender<Bytes>, mut rng: Rng) -> bool {
    match kind {
        // It is answered as soon as anybody has a moment.
        "health" => true,
        "streamed event" => events.send(traffic::event(&mut rng).into()).await.is_ok(),
        "batch" => {
            let batch = traffic::events(&mut rng, BATCH);
            pipeline.process_batch(batch).await.iter().all(Result::is_ok)
        }
        _ => {
            let event = traffic::event(&mut rng);
            pipeline.process(event.as_bytes(), &mut Vec::new()).is_ok()
        }
    }
}

/// Those of the morning, and what the fraud desk has added.
fn busy_rules() -> Vec<RuleSpec> {
    let added = (0..11).map(|n| {
        let pattern = format!(r"(?i)^/(offer|campaign|landing)-{n}\b.*[?&]ref=(mail|push|partner-\d+)");
        rule(&format!("campaign {n}"), "body.path", &pattern, Action::Flag)
    });
    traffic::rules().into_iter().chain(added).collect()
}
