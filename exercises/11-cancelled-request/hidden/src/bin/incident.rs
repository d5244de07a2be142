//! Half an hour of `reports` before a slow warehouse, watched: `cargo xtask incident`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use cancelled_request_hidden::door::Door;
use cancelled_request_hidden::prices::Prices;
use cancelled_request_hidden::stage::database;
use cancelled_request_hidden::steps::Steps;
use cancelled_request_hidden::subject::{AppCfg, AppState, app};
use cancelled_request_hidden::traffic::{QUICK, Wanted};
use cancelled_request_hidden::visit::ask;
use harness::Failure;
use oncall::{Shift, Unit, arrivals};

/// Requests per second, of all kinds.
const PER_SECOND: f64 = 8.0;
const REPORTS_IN_100: u32 = 25;
/// When the warehouse becomes slow, and how long it then takes for a report.
const SLOW_AFTER: Duration = Duration::from_secs(6);
const REPORT_S: f64 = 25.0;
/// How long somebody waits for a report, and for the start page.
const PATIENCE: Duration = Duration::from_secs(2);
const POOL: u32 = 6;

#[global_allocator]
static HEAP: oncall::Recording = oncall::Recording;

fn main() -> std::process::ExitCode {
    oncall::run(oncall::incident!(), traffic)
}

async fn traffic(shift: Shift) -> Result<(), Failure> {
    let pg = database(shift.check()).await?;
    let gone = Arc::new(AtomicU64::new(0));
    let complaints = gone.clone();
    shift
        .chart("Start pages that did not come, per second", Unit::Count)
        .counter(
            "frontend_start_page_errors",
            &[],
            "Start pages that failed, or took longer than anybody waits",
            move || complaints.load(Relaxed) as f64,
        )
        .show();
    oncall::postgres::watch(&shift, &pg, |_| None);
    let prices = Prices::start(shift.check().harness_handle())?;
    let steps = Steps::new();
    let cfg = AppCfg {
        pool: POOL,
        acquire_timeout: Duration::from_secs(2),
        prices_url: prices.url(),
        grace: Duration::from_secs(5),
    };
    let state = AppState::new(&pg.url(), cfg, steps.probe()).await;
    let door = Door::open(app(state)).await?;
    let address = door.address();
    let mut number = 0;
    arrivals(&shift, PER_SECOND, move |rng, after| {
        let slow = after >= SLOW_AFTER;
        let wants_report = rng.u32(..100) < REPORTS_IN_100;
        let asked = match wants_report {
            true => {
                number += 1;
                let id = format!("q3-emea-{number}");
                let wanted = match slow {
                    true => Wanted::slow(id, REPORT_S),
                    false => Wanted::new(id, 20),
                };
                wanted.request()
            }
            false => QUICK.to_vec(),
        };
        let kind = if wants_report { "report" } else { "start page" };
        let gone = gone.clone();
        (kind, async move {
            let came = request(address, asked).await;
            gone.fetch_add(u64::from(!came && !wants_report), Relaxed);
            came
        })
    })
    .await
    .map_err(Failure::new)
}

/// Whoever has waited for too long closes the tab.
async fn request(to: SocketAddr, request: Vec<u8>) -> bool {
    let asked = ask(to, &request, PATIENCE, "the answer");
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => answer.status < 400,
        _ => false,
    }
}
