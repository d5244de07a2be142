//! Many small transfers from and to the same accounts: each counts, and none is one too many.

use deadlock_hidden::books::Books;
use deadlock_hidden::branch::{Branch, OPENING, ROOMY, deposit, onboard, returned};
use deadlock_hidden::quiet::until_quiet;
use deadlock_hidden::subject::{BankConfig, BankError};
use deadlock_hidden::traffic::{succeeded, why};
use harness::{Check, Failure, Outcome, ensure};
use tokio::task::JoinSet;

const TASKS: usize = 10;
const EACH: usize = 30;
/// Holds as much.
const POOR: u32 = 3;
const CLOSED: u32 = 4;
const POOR_CENTS: usize = 25;
const TAKERS: usize = 60;
/// Pairs of accounts that have nothing to do with each other.
const PAIRS: u32 = 8;
/// Two connections for each of them and more: how few will do is another check's.
const WIDE: BankConfig = BankConfig {
    pool_size: 2 * PAIRS + 4,
    ..ROOMY
};

pub async fn add_up(cx: &Check) -> Outcome {
    // Within a pair the numbers are far apart and alike to many divisors; between pairs they are not.
    let pairs: Vec<(u32, u32)> = (0..PAIRS).map(|n| (1_000 + n, 1_000 + n + 720_720)).collect();
    let mut accounts = vec![1, 2];
    accounts.extend(pairs.iter().flat_map(|(from, to)| [*from, *to]));
    let branch = Branch::open(cx, WIDE, &accounts).await?;
    deposit(&branch.pg, &[POOR], POOR_CENTS as i64).await?;
    let closed = format!("INSERT INTO accounts (id, balance_cents, closed_at) VALUES ({CLOSED}, 0, now())");
    onboard(&branch.pg, &closed).await?;
    let branch = Branch::at(cx, branch.pg.clone(), WIDE).await?;
    let before = Books::read(&branch.pg).await?;
    branch.if_stuck(
        cx,
        "calls",
        "Transfers in one direction wait for each other for ever.",
    );

    cx.stage("a cent at a time, from one account to another");
    let mut told = cent_by_cent(cx, &branch).await?;
    cx.stage("more takers than the account holds cents");
    told += drained(&branch).await?;
    cx.stage("transfers that cannot be made");
    refused(&branch).await?;
    cx.stage("transfers between strangers, with the database's answers held");
    told += side_by_side(cx, &branch, &pairs).await?;
    cx.stage("round trips of a transfer");
    told += round_trips(cx, &branch).await?;
    let after = Books::read(&branch.pg).await?;
    after.balance(&before)?;
    after.hold(&before, told)
}

async fn cent_by_cent(cx: &Check, branch: &Branch) -> Result<usize, Failure> {
    let mut set = JoinSet::new();
    for _ in 0..TASKS {
        let pulse = cx.pulse();
        branch.call(&mut set, move |bank| async move {
            for _ in 0..EACH {
                succeeded(bank.transfer(1, 2, 1).await)?;
                pulse.beat();
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(answer) = set.join_next().await {
        returned(answer)??;
    }
    let moved = (TASKS * EACH) as i64;
    let balances = (branch.bank.balance(1).await, branch.bank.balance(2).await);
    ensure!(
        balances == (Ok(OPENING - moved), Ok(OPENING + moved)),
        "An update was lost: two transfers read the same balance and both wrote what they had computed from it.",
        "after {moved} transfers of a cent each, two accounts that had {OPENING} hold {balances:?}"
    );
    Ok(TASKS * EACH)
}

async fn drained(branch: &Branch) -> Result<usize, Failure> {
    let mut set = JoinSet::new();
    for n in 0..TAKERS {
        branch.transfer(&mut set, POOR, 1 + n as u32 % 2, 1);
    }
    let mut made = 0;
    while let Some(answer) = set.join_next().await {
        match returned(answer)? {
            Ok(_) => made += 1,
            Err(BankError::Insufficient { .. }) => {}
            Err(err) => {
                let text = err.to_string();
                let because = if text.contains("check constraint") || text.contains("23514") {
                    "Between looking at a balance and taking from it, another transfer took: the database refused what the \
                     service should have."
                } else {
                    why(&text)
                };
                return Err(Failure::new(format!(
                    "a transfer from an account that ran dry answered: {text}"
                ))
                .because(because));
            }
        }
    }
    let left = branch.bank.balance(POOR).await;
    ensure!(
        made == POOR_CENTS && left == Ok(0),
        "Whether an account holds enough is decided together with taking it.",
        "of {TAKERS} transfers of a cent from an account with {POOR_CENTS}, {made} were made; it holds {left:?}"
    );
    Ok(made)
}

async fn refused(branch: &Branch) -> Outcome {
    for (from, to, cents, expected) in [
        (POOR, 1, 1, "Insufficient"),
        (1, CLOSED, 1, "NoAccount"),
        (CLOSED, 1, 1, "NoAccount"),
        (1, 2, 10 * OPENING, "Insufficient"),
    ] {
        let answer = branch.bank.transfer(from, to, cents).await;
        let right = match expected {
            "NoAccount" => matches!(answer, Err(BankError::NoAccount { .. })),
            _ => matches!(answer, Err(BankError::Insufficient { .. })),
        };
        ensure!(
            right,
            "Each refusal says what it is about.",
            "a transfer that {expected} stands against answered {answer:?}"
        );
    }
    Ok(())
}

/// As many connections as transfers: whoever does not come is kept waiting by the service.
async fn side_by_side(cx: &Check, branch: &Branch, pairs: &[(u32, u32)]) -> Result<usize, Failure> {
    let gate = branch
        .tap
        .hold_replies(|request| request.runs_data() && request.sql.is_some_and(|sql| !only_looks(sql)));
    let mut set = JoinSet::new();
    for (from, to) in pairs {
        branch.transfer(&mut set, *from, *to, 5);
    }
    let under_way = until_quiet(&branch.pulse, || gate.waiting(), 2, pairs.len()).await;
    gate.open();
    drop(gate);
    while let Some(answer) = set.join_next().await {
        succeeded(returned(answer)?)?;
    }
    cx.measure("strangers_kept_waiting", (pairs.len() - under_way) as f64);
    cx.explain(
        "strangers_kept_waiting",
        "Transfers that have no account in common wait for each other: one lock, or one queue, for all.",
        [format!(
            "{under_way} of {} transfers between different accounts reached the database with something to do there while its \
             answers were held",
            pairs.len()
        )],
    );
    Ok(pairs.len())
}

/// Whether a statement reads and does nothing else, as far as its text tells: a call of a function may do anything.
fn only_looks(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    let does = ["insert", "update", "delete", "merge", " share", "("];
    sql.trim_start().starts_with("select") && !does.iter().any(|word| sql.contains(word))
}

/// On two connections, whose statements have been prepared by then.
async fn round_trips(cx: &Check, branch: &Branch) -> Result<usize, Failure> {
    const WARM_UP: usize = 12;
    const COUNTED: usize = 9;
    let cfg = BankConfig {
        pool_size: 2,
        ..ROOMY
    };
    let quiet = Branch::at(cx, branch.pg.clone(), cfg).await?;
    for _ in 0..WARM_UP {
        succeeded(quiet.bank.transfer(1, 2, 1).await)?;
        cx.beat();
    }
    let mut runs = Vec::new();
    let mut statements = Vec::new();
    for _ in 0..COUNTED {
        let (before, logged) = (quiet.tap.counts(), quiet.tap.statements().len());
        succeeded(quiet.bank.transfer(2, 1, 1).await)?;
        runs.push(quiet.tap.counts().since(&before).round_trips);
        statements = quiet.tap.statements_after(logged);
        cx.beat();
    }
    runs.sort_unstable();
    cx.measure("round_trips_per_transfer", runs[COUNTED / 2] as f64);
    let told = statements
        .iter()
        .map(|statement| statement.sql.split_whitespace().collect::<Vec<_>>().join(" "));
    cx.explain(
        "round_trips_per_transfer",
        "Whoever comes next to these accounts waits for every round trip that they are held for.",
        told,
    );
    Ok(WARM_UP + COUNTED)
}
