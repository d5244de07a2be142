//! A crowd on a small pool.

use std::time::{Duration, Instant};

use deadlock_hidden::books::Books;
use deadlock_hidden::branch::{Branch, returned};
use deadlock_hidden::quiet::until_quiet;
use deadlock_hidden::subject::{Bank, BankConfig};
use deadlock_hidden::traffic::succeeded;
use harness::postgres::Kind;
use harness::{Check, Failure, Outcome, ensure};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinSet;

pub async fn serves_a_crowd(cx: &Check) -> Outcome {
    let pool_size = cx.draw("pool_size", &[2, 3, 5]);
    let cfg = BankConfig {
        pool_size,
        inbox: 4,
        max_closing: 2,
    };
    let transfers = 4 * pool_size;
    let accounts: Vec<u32> = (1..=2 * transfers).collect();
    let branch = Branch::open(cx, cfg, &accounts).await?;
    let before = Books::read(&branch.pg).await?;

    cx.stage(format!(
        "{transfers} transfers between different accounts, on {pool_size} connections"
    ));
    branch.if_stuck(
        cx,
        "transfers",
        "A call that holds a connection waits for another: as many of them as there are connections wait for ever. A larger \
         pool takes more calls to fill.",
    );
    // Held until each connection is in a transaction of its own.
    let gate = branch.tap.hold_replies(|request| request.runs("BEGIN"));
    let mut set = JoinSet::new();
    for n in 0..transfers {
        branch.transfer(&mut set, 2 * n + 1, 2 * n + 2, 5);
    }
    until_quiet(&branch.pulse, || gate.waiting(), 0, pool_size as usize).await;
    gate.open();
    drop(gate);
    while let Some(answer) = set.join_next().await {
        succeeded(returned(answer)?)?;
    }
    let peak = branch.tap.counts().connections_peak;
    ensure!(
        peak <= u64::from(pool_size),
        "The pool's size is what the database grants this service; a larger pool, or a second one, takes what others were \
         promised.",
        "{peak} connections were open at one time, with pool_size = {pool_size}"
    );
    let mut told = transfers as usize;
    // Once is enough: how long somebody waits for a connection is no matter of the runtime.
    if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        connects_slowly(cx, &branch, cfg).await?;
        told += 1;
    }
    let after = Books::read(&branch.pg).await?;
    after.balance(&before)?;
    after.hold(&before, told)
}

/// A service that has just been started finds a database that takes its time to let anybody in.
async fn connects_slowly(cx: &Check, branch: &Branch, cfg: BankConfig) -> Outcome {
    const SLOW: Duration = Duration::from_millis(8_500);
    cx.stage("a transfer while the database takes eight seconds to accept a connection");
    let tap = branch.pg.another_tap().await?;
    let gate = tap.hold_replies(|request| request.kind == Kind::Startup);
    let url = tap.url();
    let moved = async move {
        let bank = Bank::start(cfg, &url).await;
        bank.transfer(1, 2, 5).await
    };
    let accepted = async {
        let begun = Instant::now();
        while begun.elapsed() < SLOW {
            cx.beat();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        gate.open();
    };
    let (moved, ()) = tokio::join!(moved, accepted);
    moved.map(drop).map_err(|err| {
        Failure::new(format!(
            "a transfer that had to connect first failed after less than ten seconds: {err}"
        ))
        .because("A database that is slow to let anybody in is slow, not broken: how long to wait is for the caller to say.")
    })
}
