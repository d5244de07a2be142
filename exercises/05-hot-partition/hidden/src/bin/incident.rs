//! A customer's first morning at `eventlog`, watched: `cargo xtask incident`.

use std::sync::Arc;
use std::time::Duration;

use harness::Failure;
use harness::dynamodb::Limit;
use hot_partition_hidden::stage::Stage;
use hot_partition_hidden::subject::{Event, EventLog};
use hot_partition_hidden::traffic::SMALL;
use oncall::{Shift, arrivals};

/// Requests per second, of all kinds; how many of them are the big customer's appends once it has gone live.
const PER_SECOND: f64 = 80.0;
const BIG_IN_100: u32 = 65;
const LIVE_AFTER: Duration = Duration::from_secs(4);
/// A window of the table's in short, and what a partition may do in one.
const WINDOW: Duration = Duration::from_secs(1);
const LIMIT: Limit = Limit {
    write_units: 20.0,
    read_units: 200.0,
};
const INSTANCES: usize = 2;
const CACHE_TTL: Duration = Duration::from_secs(1);
/// How long a producer waits, and a customer.
const PATIENCE: Duration = Duration::from_millis(1500);
const SHOWN: usize = 20;

#[global_allocator]
static HEAP: oncall::Recording = oncall::Recording;

fn main() -> std::process::ExitCode {
    oncall::run(oncall::incident!(), traffic)
}

enum Ask {
    Append(&'static str, Event),
    Page(&'static str),
}

async fn traffic(shift: Shift) -> Result<(), Failure> {
    let stage = Stage::set(shift.check()).await?;
    let (mut logs, mut taps) = (Vec::new(), Vec::new());
    for _ in 0..INSTANCES {
        let (log, tap) = stage.instance_apart(stage.cfg(CACHE_TTL))?;
        logs.push(log);
        taps.push(tap);
    }
    oncall::dynamodb::watch(&shift, &stage.db, &taps, LIMIT, WINDOW);
    let big = stage.big;
    arrivals(&shift, PER_SECOND, move |rng, after| {
        let small = SMALL[rng.usize(..SMALL.len())];
        let live = after >= LIVE_AFTER;
        let (kind, ask) = match rng.u32(..100) {
            0..BIG_IN_100 if live => ("append of the new customer", Ask::Append(big, stage.event())),
            0..BIG_IN_100 => ("page", Ask::Page(small)),
            BIG_IN_100..75 if live => ("page of the new customer", Ask::Page(big)),
            BIG_IN_100..85 => ("append", Ask::Append(small, stage.event())),
            _ => ("page", Ask::Page(small)),
        };
        let log = logs[rng.usize(..logs.len())].clone();
        (kind, serve(log, ask))
    })
    .await
    .map_err(Failure::new)
}

/// Whoever has waited for too long goes away.
async fn serve(log: Arc<EventLog>, ask: Ask) -> bool {
    let served = async {
        match ask {
            Ask::Append(customer, event) => log.append(customer, event).await.is_ok(),
            Ask::Page(customer) => log.recent(customer, SHOWN, None).await.is_ok(),
        }
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap_or(false)
}
