//! Accounts that were opened while the service runs.

use deadlock_hidden::books::Books;
use deadlock_hidden::branch::{Branch, OPENING, ROOMY, deposit, returned};
use deadlock_hidden::subject::BankError;
use deadlock_hidden::traffic::succeeded;
use harness::{Check, OrObserved, Outcome, ensure};
use tokio::task::JoinSet;

pub async fn is_an_account(cx: &Check) -> Outcome {
    let branch = Branch::open(cx, ROOMY, &[1, 2, 3]).await?;
    let warm = branch.bank.transfer(1, 2, 1).await;
    succeeded(warm)?;

    branch.if_stuck(
        cx,
        "calls",
        "A guard in the scrutinee of a `match` lives until the end of the match: the arm that takes the lock again waits for \
         its own thread.",
    );
    cx.stage("calls for accounts that were opened after the service was started");
    deposit(&branch.pg, &[101, 102, 103], OPENING).await?;
    deposit(&branch.pg, &[104], 0).await?;
    let before = Books::read(&branch.pg).await?;
    let mut set = JoinSet::new();
    for (from, to) in [(1, 101), (101, 1), (102, 103), (103, 102), (102, 2), (3, 103)] {
        branch.transfer(&mut set, from, to, 25);
    }
    // What has nothing to do with them goes on as well.
    branch.transfer(&mut set, 2, 3, 10);
    let made = set.len();
    while let Some(answer) = set.join_next().await {
        succeeded(returned(answer)?)?;
    }
    let statement = branch
        .bank
        .statement(101)
        .await
        .or_observed("a statement failed")?;
    ensure!(
        statement.balance_cents == OPENING && statement.entries.len() == 3,
        "An account is one from the moment it stands in the table.",
        "after a deposit and two transfers, the statement of the new account is {statement:?}"
    );
    let closed = branch.bank.close_account(104).await;
    ensure!(
        closed.is_ok(),
        "An account is one from the moment it stands in the table.",
        "closing an empty account that was opened today answered {closed:?}"
    );
    cx.stage("calls for accounts that do not exist");
    let answers = [
        branch.bank.transfer(1, 900, 1).await.err(),
        branch.bank.transfer(901, 1, 1).await.err(),
        branch.bank.balance(902).await.err(),
        branch.bank.statement(903).await.err(),
        branch.bank.close_account(904).await.err(),
    ];
    for answer in answers {
        ensure!(
            matches!(answer, Some(BankError::NoAccount { .. })),
            "Each refusal says what it is about.",
            "a call for an account that does not exist answered {answer:?}"
        );
    }
    let after = Books::read(&branch.pg).await?;
    after.balance(&before)?;
    after.hold(&before, made)
}
