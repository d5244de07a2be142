//! A campaign's morning at `ledgerd`, watched: `cargo xtask incident`.

use std::sync::Arc;
use std::time::Duration;

use deadlock_hidden::branch::{OPENING, database, deposit};
use deadlock_hidden::subject::{Bank, BankConfig, Health};
use harness::postgres::Postgres;
use oncall::{Shift, arrivals};

/// Requests per second, of all kinds.
const PER_SECOND: f64 = 120.0;
const ACCOUNTS: u32 = 12;
/// When onboarding opens the first accounts of the day, and how often it opens one more.
const OPENS_AFTER: Duration = Duration::from_secs(20);
const OPENS_EVERY: Duration = Duration::from_secs(2);

#[global_allocator]
static HEAP: oncall::Recording = oncall::Recording;

fn main() -> std::process::ExitCode {
    oncall::run(oncall::incident!(), traffic)
}

async fn traffic(shift: Shift) -> Result<(), String> {
    let pg = database(shift.check())
        .await
        .map_err(|failure| failure.to_string())?;
    let accounts: Vec<u32> = (1..=ACCOUNTS).collect();
    deposit(&pg, &accounts, OPENING)
        .await
        .map_err(|failure| failure.to_string())?;
    oncall::postgres::watch(&shift, &pg, value_of);
    let cfg = BankConfig {
        pool_size: 8,
        inbox: 8,
        max_closing: 4,
    };
    let bank = Arc::new(Bank::start(cfg, &pg.url()).await);
    let mut opened = ACCOUNTS;
    arrivals(&shift, PER_SECOND, move |rng, after| {
        let from = rng.u32(1..=ACCOUNTS);
        let to = (from + rng.u32(0..ACCOUNTS - 1)) % ACCOUNTS + 1;
        let due = OPENS_AFTER + OPENS_EVERY * (opened - ACCOUNTS);
        let ask = if after >= due {
            opened += 1;
            Ask::Open(opened)
        } else {
            match rng.u32(..100) {
                0..10 => Ask::Health,
                10..25 => Ask::Balance(from),
                25..30 => Ask::Statement(from),
                _ => Ask::Transfer(from, to, rng.i64(1..10)),
            }
        };
        (ask.kind(), serve(ask, bank.clone(), pg.clone()))
    })
    .await
}

enum Ask {
    Health,
    Balance(u32),
    Statement(u32),
    Transfer(u32, u32, i64),
    /// A new customer, who pays one cent to see that it works.
    Open(u32),
}

impl Ask {
    fn kind(&self) -> &'static str {
        match self {
            Ask::Health => "health",
            Ask::Balance(_) => "balance",
            Ask::Statement(_) => "statement",
            Ask::Transfer(..) => "transfer",
            Ask::Open(_) => "first payment",
        }
    }
}

async fn serve(ask: Ask, bank: Arc<Bank>, pg: Arc<Postgres>) -> bool {
    match ask {
        Ask::Health => bank.health().await == Health::Ok,
        Ask::Balance(id) => bank.balance(id).await.is_ok(),
        Ask::Statement(id) => bank.statement(id).await.is_ok(),
        Ask::Transfer(from, to, cents) => bank.transfer(from, to, cents).await.is_ok(),
        Ask::Open(id) => deposit(&pg, &[id], 1).await.is_ok() && bank.transfer(id, 1, 1).await.is_ok(),
    }
}

/// What a statement is explained with.
fn value_of(kind: &str) -> Option<&'static str> {
    match kind {
        "bigint" | "integer" => Some("1"),
        _ => None,
    }
}
