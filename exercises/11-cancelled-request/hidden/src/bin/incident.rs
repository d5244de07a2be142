//! Half an hour of `reports` before a slow warehouse, watched: `cargo xtask incident`.

use std::net::SocketAddr;
use std::time::Duration;

use cancelled_request_hidden::door::Door;
use cancelled_request_hidden::prices::Prices;
use cancelled_request_hidden::stage::database;
use cancelled_request_hidden::steps::Steps;
use cancelled_request_hidden::subject::{AppCfg, AppState, app};
use cancelled_request_hidden::traffic::{QUICK, Wanted};
use cancelled_request_hidden::visit::ask;
use harness::Failure;
use oncall::{Shift, arrivals};

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
        match rng.u32(..100) < REPORTS_IN_100 {
            true => {
                number += 1;
                let id = format!("q3-emea-{number}");
                let wanted = match slow {
                    true => Wanted::slow(id, REPORT_S),
                    false => Wanted::new(id, 20),
                };
                ("report", request(address, wanted.request()))
            }
            false => ("start page", request(address, QUICK.to_vec())),
        }
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
