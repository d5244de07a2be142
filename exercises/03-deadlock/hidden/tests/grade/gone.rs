//! Callers who give up while the database is stuck.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use deadlock_hidden::branch::{Branch, OPENING, returned};
use deadlock_hidden::subject::{Bank, BankConfig};
use deadlock_hidden::traffic::succeeded;
use harness::{Check, OrObserved, Outcome, alloc, ensure};
use tokio::task::JoinSet;

const CALLERS: usize = 10_000;
/// Between two looks at what goes on.
const LOOK: Duration = Duration::from_millis(200);

pub async fn leaves_nothing(cx: &Check) -> Outcome {
    let inbox = cx.draw("inbox", &[1, 4, 16]);
    let cfg = BankConfig {
        pool_size: 4,
        inbox,
        max_closing: 2,
    };
    let accounts: Vec<u32> = (1..=8).collect();
    let branch = Branch::open(cx, cfg, &accounts).await?;
    branch.if_stuck(
        cx,
        "calls",
        "Those who answer for statements have come to wait for each other, for callers who have long gone.",
    );
    cx.stage("statements before the database is stuck");
    for account in 1..=8 {
        branch
            .bank
            .statement(account)
            .await
            .or_observed("a statement failed")?;
        succeeded(branch.bank.transfer(account, account % 8 + 1, 1).await)?;
        cx.beat();
    }

    cx.stage(format!(
        "{CALLERS} callers ask for a statement and give up, while the database is stuck"
    ));
    let gate = branch.tap.hold_replies(|request| request.runs_data());
    for number in 0..100 + 4 * inbox {
        asks_and_gives_up(&branch.bank, number).await;
        cx.beat();
    }
    let before = alloc::settled().await.live_bytes;
    for number in 0..CALLERS {
        asks_and_gives_up(&branch.bank, number).await;
        cx.beat();
    }
    let kept = alloc::settled().await.live_bytes - before;
    cx.measure("bytes_kept_per_lost_caller", kept.max(0) as f64 / CALLERS as f64);
    cx.explain(
        "bytes_kept_per_lost_caller",
        "Requests are queued without a limit, or with one that is far from `inbox`: nobody waits for them any more, and they \
         stay.",
        [format!("{kept} bytes are held after {CALLERS} callers have gone, with inbox = {inbox}")],
    );

    cx.stage("statements once the database answers again");
    gate.open();
    drop(gate);
    let mut set = JoinSet::new();
    for account in 1..=8 {
        branch.call(&mut set, move |bank| async move { bank.statement(account).await });
    }
    while let Some(answer) = progressing(cx, &branch, set.join_next()).await {
        let statement =
            returned(answer)?.or_observed("a statement failed once the database answered again")?;
        ensure!(
            statement.balance_cents == OPENING,
            "What was asked for while the database was stuck changes nothing.",
            "a statement says {} cents, where {OPENING} were left",
            statement.balance_cents
        );
    }
    Ok(())
}

/// The future's output. While statements are sent to the database something goes on, though it be for callers who have gone.
async fn progressing<T>(cx: &Check, branch: &Branch, future: impl Future<Output = T>) -> T {
    let (mut future, mut seen) = (pin!(future), branch.tap.counts());
    loop {
        tokio::select! {
            biased;
            output = &mut future => return output,
            () = tokio::time::sleep(LOOK) => {
                let now = branch.tap.counts();
                if now != seen {
                    cx.beat();
                    seen = now;
                }
            }
        }
    }
}

/// Long enough for the request to get as far as it can.
async fn asks_and_gives_up(bank: &Bank, number: usize) {
    let mut call = pin!(bank.statement(1 + number as u32 % 8));
    for _ in 0..3 {
        let returned = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready())).await;
        if returned {
            return;
        }
        tokio::task::yield_now().await;
    }
}
