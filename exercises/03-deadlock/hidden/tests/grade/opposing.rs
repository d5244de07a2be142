//! Money moves between the same accounts in both directions at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deadlock_hidden::books::Books;
use deadlock_hidden::branch::{Branch, ROOMY, deposit, returned};
use deadlock_hidden::quiet::{until_quiet, until_waiting};
use deadlock_hidden::subject::BankError;
use deadlock_hidden::traffic::{Customer, succeeded};
use harness::postgres::Gate as TapGate;
use harness::{Check, Failure, Outcome, ensure};
use tokio::task::JoinSet;

/// Accounts that the storm is about: few, so that transfers meet.
const ACCOUNTS: u32 = 8;
/// As many calls at one time as leave connections over, whatever each of them takes: how a small pool is shared is another
/// check's.
const CUSTOMERS: usize = 12;
const TRANSFERS: usize = 50;
/// How long the database keeps one COMMIT's answer to itself; well below what the contract lets a caller wait.
const SLOW: Duration = Duration::from_secs(3);

const CYCLE: &str = "Two transfers in opposite directions each hold one account and wait for the other: the order in which \
                     accounts are taken depends on the direction.";

pub async fn all_succeed(cx: &Check) -> Outcome {
    let accounts: Vec<u32> = (1..=ACCOUNTS + 2).collect();
    let branch = Branch::open(cx, ROOMY, &accounts).await?;
    let before = Books::read(&branch.pg).await?;

    branch.if_stuck(cx, "transfers", CYCLE);
    cx.stage("two transfers in opposite directions, held until both have asked the database");
    let mut told = a_pair(&branch).await?;
    branch.if_stuck(
        cx,
        "transfers",
        "A transfer from an account to itself waits for what it holds.",
    );
    let same = branch.bank.transfer(3, 3, 1).await;
    ensure!(
        matches!(same, Err(BankError::SameAccount { .. })),
        "A transfer to the account itself is refused before anything is taken.",
        "a transfer from an account to itself answered {same:?}"
    );

    cx.stage("a transfer between any two accounts");
    branch.if_stuck(
        cx,
        "transfers",
        "Two accounts may share a lock: who takes it twice waits for itself.",
    );
    told += any_two(cx, &branch).await?;

    cx.stage("transfers of which each shares a lock with the next, where numbers are spread over few");
    branch.if_stuck(
        cx,
        "transfers",
        "Accounts share locks, and two transfers take two of those in different orders: what has to be in order is the locks, \
         not the accounts.",
    );
    told += crossing(cx, &branch).await?;

    cx.stage("customers move small sums between eight accounts, in all directions");
    branch.if_stuck(cx, "transfers", CYCLE);
    let before_storm = branch.tap.counts();
    let (slow_gate, mut slow) = one_slow_commit(&branch).await;
    // Meanwhile, not afterwards: accounts that share a lane with the slow one may have to wait for it.
    let slow_since = Instant::now();
    let answered_late = async {
        while slow_gate.waiting() > 0 && slow_since.elapsed() < SLOW {
            cx.beat();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        slow_gate.open();
    };
    let (storm, ()) = tokio::join!(storm(cx, &branch), answered_late);
    let storm = storm?;
    while let Some(answer) = slow.join_next().await {
        succeeded(returned(answer)?)?;
    }
    told += storm + 1;
    let counts = branch.tap.counts().since(&before_storm);
    let deadlocks = counts.sqlstate("40P01");
    cx.measure(
        "deadlocks_per_hundred_transfers",
        100.0 * deadlocks as f64 / (storm + 1) as f64,
    );
    cx.explain(
        "deadlocks_per_hundred_transfers",
        "A retry hides the deadlock from the caller, and the database still waits a second before it breaks each one: the \
         rows are locked in the direction of the transfer.",
        [format!("{deadlocks} deadlocks (40P01) passed the tap in {} transfers", storm + 1)],
    );

    let after = Books::read(&branch.pg).await?;
    after.balance(&before_plus_deposits(&branch, before).await?)?;
    after.hold(&before, told)
}

/// What `any_two` has deposited belongs to neither side.
async fn before_plus_deposits(branch: &Branch, before: Books) -> Result<Books, Failure> {
    let sql = "SELECT coalesce(sum(cents), 0)::bigint FROM transfers WHERE from_id IS NULL";
    let deposits = deadlock_hidden::books::numbers(&branch.pg, sql).await?;
    Ok(Books {
        cents: deposits.first().copied().unwrap_or_default(),
        ..before
    })
}

async fn a_pair(branch: &Branch) -> Result<usize, Failure> {
    let gate = branch.tap.hold_replies(|request| request.runs_data());
    let mut pair = JoinSet::new();
    branch.transfer(&mut pair, 1, 2, 100);
    branch.transfer(&mut pair, 2, 1, 50);
    until_quiet(&branch.pulse, || gate.waiting(), 1, 2).await;
    gate.open();
    while let Some(answer) = pair.join_next().await {
        succeeded(returned(answer)?)?;
    }
    Ok(2)
}

/// Account 1 and others whose numbers lie so far apart that many ways to spread accounts over a few places put both in
/// one; and many more pairs, for the ways that do not go by the number.
async fn any_two(cx: &Check, branch: &Branch) -> Result<usize, Failure> {
    let mut rng = cx.rng("far apart");
    let mut others: Vec<u32> = vec![1 + (1 << 16), 1 + 720_720, 1 + 1_000_000, 1 + (1 << 24)];
    while others.len() < 160 {
        let id = rng.u32(10_000..1 << 30);
        if !others.contains(&id) {
            others.push(id);
        }
    }
    deposit(&branch.pg, &others, 1_000).await?;
    // Anew, so that these accounts are there before the service starts; opening them later is another check's.
    let fresh = branch.anew(cx, ROOMY).await?;
    let partners = others[4..].chunks_exact(2).map(|pair| (pair[0], pair[1]));
    let pairs: Vec<_> = others[..4]
        .iter()
        .map(|other| (1, *other))
        .chain(partners)
        .collect();
    for at_one_time in pairs.chunks(CUSTOMERS) {
        let mut set = JoinSet::new();
        for (from, to) in at_one_time.iter().copied() {
            fresh.transfer(&mut set, from, to, 1);
        }
        while let Some(answer) = set.join_next().await {
            succeeded(returned(answer)?)?;
        }
    }
    Ok(pairs.len())
}

/// Over how many places the numbers of accounts may be spread.
const PLACES: [u32; 10] = [10, 16, 32, 64, 100, 128, 256, 512, 1000, 1024];

/// Three transfers between six accounts, which have three places if those go by the number: one transfer holds the second;
/// one has to wait for it before it can take the first, the other for the second when it has the first.
async fn crossing(cx: &Check, branch: &Branch) -> Result<usize, Failure> {
    let crossings = PLACES.map(|places| [(2 + 2 * places, 7), (2, 1 + places), (1, 2 + places)]);
    let mut ids: Vec<u32> = crossings
        .iter()
        .flatten()
        .flat_map(|pair| [pair.0, pair.1])
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.retain(|id| *id > ACCOUNTS + 2);
    deposit(&branch.pg, &ids, 1_000).await?;
    let fresh = branch.anew(cx, ROOMY).await?;
    for crossing in crossings {
        let gate = fresh.tap.hold_replies(|request| request.runs_data());
        let mut set = JoinSet::new();
        for (from, to) in crossing {
            fresh.transfer(&mut set, from, to, 1);
            // Whoever waits for a lock does so where nobody sees it, and has a moment to get there.
            until_waiting(&branch.pulse, || gate.waiting(), set.len()).await;
        }
        gate.open();
        drop(gate);
        while let Some(answer) = set.join_next().await {
            succeeded(returned(answer)?)?;
        }
    }
    Ok(3 * PLACES.len())
}

/// A transfer between two accounts of its own whose COMMIT the database answers late.
async fn one_slow_commit(
    branch: &Branch,
) -> (
    TapGate,
    JoinSet<Result<deadlock_hidden::subject::TxId, BankError>>,
) {
    let taken = AtomicBool::new(false);
    let gate = branch
        .tap
        .hold_replies(move |request| request.runs("COMMIT") && !taken.swap(true, Ordering::SeqCst));
    let mut slow = JoinSet::new();
    branch.transfer(&mut slow, ACCOUNTS + 1, ACCOUNTS + 2, 77);
    let over = || usize::from(gate.waiting() > 0 || slow.is_empty());
    until_quiet(&branch.pulse, over, 0, 1).await;
    (gate, slow)
}

async fn storm(cx: &Check, branch: &Branch) -> Result<usize, Failure> {
    let mut set = JoinSet::new();
    for number in 0..CUSTOMERS {
        let (customer, pulse) = (Customer::new(cx, number, ACCOUNTS), branch.pulse.clone());
        branch.call(&mut set, move |bank| customer.makes(TRANSFERS, bank, pulse));
    }
    let mut made = 0;
    while let Some(customer) = set.join_next().await {
        made += returned(customer)??;
    }
    Ok(made)
}
