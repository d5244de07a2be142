//! Statements while money moves: whole, and enough of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadlock_hidden::books::Books;
use deadlock_hidden::branch::{Branch, OPENING, onboard, returned};
use deadlock_hidden::quiet::until_quiet;
use deadlock_hidden::subject::{BankConfig, Statement, TxId};
use deadlock_hidden::traffic::{Customer, succeeded};
use harness::postgres::Postgres;
use harness::{Check, Failure, OrObserved, Outcome, ensure};
use tokio::task::JoinSet;

const STATEMENTS: usize = 2_000;
/// Accounts that money moves between; statements are asked for these and for more.
const BUSY: u32 = 4;
const ACCOUNTS: u32 = 40;

pub async fn are_whole(cx: &Check) -> Outcome {
    let accounts: Vec<u32> = (1..=ACCOUNTS).collect();
    let inbox = cx.draw("inbox", &[1, 2, 4]);
    let cfg = BankConfig {
        pool_size: 6,
        inbox,
        max_closing: 2,
    };
    let branch = Branch::open(cx, cfg, &accounts).await?;
    let before = Books::read(&branch.pg).await?;
    branch.if_stuck(
        cx,
        "calls",
        "A statement and the transfer that it meets wait for each other.",
    );
    cx.stage("a statement, and a transfer while the answer to its first question is on the way");
    let tx = between_two_questions(&branch).await?;
    fresh(&branch, tx).await?;

    cx.stage(format!(
        "{STATEMENTS} statements at once, with inboxes for {inbox}, while money moves"
    ));
    branch.if_stuck(
        cx,
        "calls",
        "Whoever answers for statements asks somebody who waits for room in its inbox: both inboxes are full, and neither is \
         emptied. More room only takes more requests to fill.",
    );
    let made = crowd(cx, &branch).await?;
    let after = Books::read(&branch.pg).await?;
    after.balance(&before)?;
    after.hold(&before, made + 1)?;
    long(cx, branch.pg.clone(), cfg).await
}

/// An account with more entries than fit on a page.
async fn long(cx: &Check, pg: Arc<Postgres>, cfg: BankConfig) -> Outcome {
    const ENTRIES: usize = 12_000;
    const LONG: u32 = ACCOUNTS + 1;
    cx.stage(format!("a statement of {ENTRIES} entries"));
    onboard(
        &pg,
        &format!(
            "INSERT INTO accounts (id, balance_cents) VALUES ({LONG}, {ENTRIES});
             INSERT INTO transfers (to_id, cents) SELECT {LONG}, 1 FROM generate_series(1, {ENTRIES})"
        ),
    )
    .await?;
    // Anew: accounts opened while it runs are another check's.
    let branch = Branch::at(cx, pg, cfg).await?;
    let statement = branch.bank.statement(LONG).await;
    let statement = statement.or_observed("a long statement failed")?;
    ensure!(
        statement.entries.len() == ENTRIES && statement.balance_cents == ENTRIES as i64,
        "A statement has every entry, however many there are: a part of them is not how the balance came about.",
        "a statement over {ENTRIES} deposits of one cent has {} entries and says {} cents",
        statement.entries.len(),
        statement.balance_cents
    );
    whole(LONG, &statement)
}

/// The first answer to a statement's question is held while a transfer is made. A statement that keeps the account to
/// itself meanwhile is right as well, so the transfer may wait.
async fn between_two_questions(branch: &Branch) -> Result<TxId, Failure> {
    let taken = AtomicBool::new(false);
    let first = branch
        .tap
        .hold_replies(move |request| request.runs_data() && !taken.swap(true, Ordering::SeqCst));
    let mut statements = JoinSet::new();
    branch.call(&mut statements, |bank| async move { bank.statement(1).await });
    until_quiet(&branch.pulse, || first.waiting(), 0, 1).await;
    let mut transfers = JoinSet::new();
    branch.transfer(&mut transfers, 1, 2, 500);
    let meanwhile = async {
        let transferred = transfers.join_next().await.or_observed("no transfer was made")?;
        succeeded(returned(transferred)?)
    };
    tokio::pin!(meanwhile);
    let early = tokio::time::timeout(Duration::from_millis(700), &mut meanwhile).await;
    first.open();
    drop(first);
    let tx = match early {
        Ok(tx) => tx?,
        Err(_) => meanwhile.await?,
    };
    let statement = statements
        .join_next()
        .await
        .or_observed("no statement was asked for")?;
    let statement = returned(statement)?.or_observed("a statement failed")?;
    whole(1, &statement)?;
    Ok(tx)
}

/// What has been committed stands in the next statement, of either account.
async fn fresh(branch: &Branch, tx: TxId) -> Outcome {
    for (account, cents) in [(1, -500), (2, 500)] {
        let statement = branch
            .bank
            .statement(account)
            .await
            .or_observed("a statement failed")?;
        whole(account, &statement)?;
        let entry = statement.entries.iter().find(|entry| entry.tx == tx);
        ensure!(
            entry.is_some_and(|entry| entry.cents == cents)
                && statement.entries.len() == 2
                && statement.balance_cents == OPENING + cents,
            "A statement tells all that was committed before it was asked for.",
            "after transfer {} of 500 cents, the statement of account {account} is {statement:?}",
            tx.0
        );
        let balance = branch.bank.balance(account).await;
        ensure!(
            balance == Ok(OPENING + cents),
            "A balance tells all that was committed before it was asked for.",
            "after transfer {} the balance of account {account} is {balance:?}",
            tx.0
        );
    }
    Ok(())
}

async fn crowd(cx: &Check, branch: &Branch) -> Result<usize, Failure> {
    let mut moving = JoinSet::new();
    for number in 0..4 {
        let (customer, pulse) = (Customer::new(cx, number, BUSY), branch.pulse.clone());
        branch.call(&mut moving, move |bank| customer.makes(15, bank, pulse));
    }
    let mut asking = JoinSet::new();
    for number in 0..STATEMENTS {
        let account = 1 + number as u32 % ACCOUNTS;
        branch.call(&mut asking, move |bank| async move {
            (account, bank.statement(account).await)
        });
    }
    while let Some(answer) = asking.join_next().await {
        let (account, answer) = returned(answer)?;
        whole(account, &answer.or_observed("one of many statements failed")?)?;
    }
    let mut made = 0;
    while let Some(customer) = moving.join_next().await {
        made += returned(customer)??;
    }
    Ok(made)
}

/// The balance is the sum of the entries, each of which stands there once.
fn whole(account: u32, statement: &Statement) -> Outcome {
    let sum: i64 = statement.entries.iter().map(|entry| entry.cents).sum();
    ensure!(
        statement.account == account && statement.balance_cents == sum,
        "Balance and entries come from two moments: what was committed in between is in the one and not in the other.",
        "the statement of account {account} says {} cents, and its {} entries come to {sum}",
        statement.balance_cents,
        statement.entries.len()
    );
    let numbers: HashSet<TxId> = statement.entries.iter().map(|entry| entry.tx).collect();
    ensure!(
        numbers.len() == statement.entries.len(),
        "Each transfer stands in a statement once.",
        "the statement of account {account} repeats a transfer: {statement:?}"
    );
    Ok(())
}
