//! A night of `pulse`, watched: `cargo xtask incident`.

use std::sync::Arc;
use std::time::Duration;

use memory_leak_hidden::subject::{Hub, HubConfig};
use memory_leak_hidden::traffic::night::{self, Answered, Call};
use oncall::{Shift, Unit};

#[global_allocator]
static HEAP: oncall::Recording = oncall::Recording;

fn main() -> std::process::ExitCode {
    oncall::run(oncall::incident!(), traffic)
}

async fn traffic(shift: Shift) -> Result<(), String> {
    let hub = Arc::new(Hub::new(HubConfig {
        idle_ttl: Duration::from_secs(60),
        outbox: 64,
        sweep: Duration::from_secs(1),
    }));
    let (sessions, timers, queued) = (hub.clone(), hub.clone(), hub.clone());
    shift
        .chart("The hub", Unit::Count)
        .gauge("pulse_sessions", &[], "Sessions that are connected", move || {
            sessions.snapshot().sessions as f64
        })
        .gauge("pulse_timers", &[], "Idle timers that are running", move || {
            timers.snapshot().timers as f64
        })
        .gauge(
            "pulse_queued_events",
            &[],
            "Events that wait to be read, over all sessions",
            move || queued.snapshot().queued as f64,
        )
        .show();
    let calls = shift.calls();
    let answered = move |answered: Answered| {
        let kind = match answered.call {
            Call::Reconnect(_) => "reconnect",
            Call::Heartbeat(_) => "heartbeat",
            Call::Batch(_) => "batch",
            Call::Publish(..) => "publish",
        };
        calls.answered(kind, answered.latency, answered.ok);
    };
    night::drive(&hub, shift.seed(), shift.lasts(), answered).await;
    Ok(())
}
