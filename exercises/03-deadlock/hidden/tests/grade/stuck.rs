//! The database says nothing, and then it does again.

use std::time::{Duration, Instant};

use deadlock_hidden::books::Books;
use deadlock_hidden::branch::{Branch, returned};
use deadlock_hidden::subject::{BankConfig, Health};
use deadlock_hidden::traffic::succeeded;
use harness::{Check, Failure, Outcome};
use tokio::task::JoinSet;

/// The contract says one second; the rest is for the machine.
const ANSWER_MAX: Duration = Duration::from_secs(4);
/// The contract says five seconds.
const STALE_MAX: Duration = Duration::from_secs(12);

pub async fn health_answers(cx: &Check) -> Outcome {
    let cfg = BankConfig {
        pool_size: 3,
        inbox: 2,
        max_closing: 1,
    };
    let accounts: Vec<u32> = (1..=12).collect();
    let branch = Branch::open(cx, cfg, &accounts).await?;
    let before = Books::read(&branch.pg).await?;
    says(cx, &branch, Health::Ok, "while all is well").await?;

    cx.stage("health while the database says nothing");
    let gate = branch.tap.hold_replies(|_| true);
    let mut set = JoinSet::new();
    // More than there are connections.
    for n in 0..6 {
        branch.transfer(&mut set, 2 * n + 1, 2 * n + 2, 5);
    }
    says(cx, &branch, Health::Degraded, "while the database says nothing").await?;
    for _ in 0..3 {
        answer(cx, &branch, "while the database says nothing").await?;
    }

    cx.stage("health once the database answers again");
    gate.open();
    drop(gate);
    says(cx, &branch, Health::Ok, "once the database answers again").await?;
    cx.stage("the transfers that the database had left unanswered");
    branch.if_stuck(
        cx,
        "calls",
        "What waited for the database goes on when it answers again.",
    );
    while let Some(answer) = set.join_next().await {
        succeeded(returned(answer)?)?;
    }
    let after = Books::read(&branch.pg).await?;
    after.balance(&before)?;
    after.hold(&before, 6)
}

async fn answer(cx: &Check, branch: &Branch, when: &str) -> Result<Health, Failure> {
    cx.if_stuck(
        "The call blocks its thread: with it stops whatever else runs there, a time-out included.",
        || "health has not returned".to_owned(),
    );
    let asked = tokio::time::timeout(ANSWER_MAX, branch.bank.health()).await;
    cx.beat();
    asked.map_err(|_| {
        Failure::new(format!("health did not answer within {ANSWER_MAX:?} {when}")).because(
            "Health waits for what it is to report on: it needs a time-limit of its own, for the connection and for the \
             answer.",
        )
    })
}

/// It may take a while until health knows.
async fn says(cx: &Check, branch: &Branch, expected: Health, when: &str) -> Outcome {
    let begun = Instant::now();
    loop {
        let health = answer(cx, branch, when).await?;
        if health == expected {
            return Ok(());
        }
        if begun.elapsed() > STALE_MAX {
            let because = match expected {
                Health::Degraded => "The health check does not observe the database.",
                Health::Ok => "Health does not notice that the database is back, or was never told.",
            };
            return Err(
                Failure::new(format!("health says {health:?} {when}, for {STALE_MAX:?}")).because(because),
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
