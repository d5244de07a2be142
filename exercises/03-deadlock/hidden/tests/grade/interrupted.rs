//! Faults at every point of a transfer and of a closing: the caller goes away, or a message is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadlock_hidden::books::{Books, numbers, transactions_left_open};
use deadlock_hidden::branch::{database, deposit};
use deadlock_hidden::subject::{Bank, BankConfig, BankError};
use harness::postgres::{LinkGuard, PgTap, Postgres, RuleGuard};
use harness::sweep::{After, Case, Scene, Sweep, Swept};
use harness::{Check, Failure, Outcome, Pulse, ensure};

/// A generous deadline for what takes milliseconds when nothing holds it back.
const SOON: Duration = Duration::from_secs(12);
/// Once something has been waited for in vain, the verdict stands; what comes later gets as long.
const AFTER_ONE_IN_VAIN: Duration = Duration::from_secs(1);
/// Between two signs that somebody still waits.
const BEAT: Duration = Duration::from_millis(500);
/// What the disturbed transfer moves; nothing else in a case moves as much.
const CENTS: i64 = 700;
const OPENING: i64 = 10_000;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Transfer,
    Closing,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The caller goes away.
    Abort,
    /// A message is lost, on its way there or on its way back, and its connection with it.
    Cut,
}

pub async fn abort(cx: &Check) -> Outcome {
    both(cx, Fault::Abort).await
}

pub async fn cut(cx: &Check) -> Outcome {
    both(cx, Fault::Cut).await
}

async fn both(cx: &Check, fault: Fault) -> Outcome {
    let pg = database(cx).await?;
    for operation in [Operation::Transfer, Operation::Closing] {
        cx.if_stuck("What the interrupted call had taken was not given back.", || {
            "calls on the same accounts have not returned".to_owned()
        });
        cx.stage(format!("{operation:?}, disturbed at each of its messages"));
        let swept = sweep(cx, &pg, operation, fault).await?;
        cx.note(format!(
            "{operation:?}: {} points were disturbed",
            swept.points.len()
        ));
    }
    let books = Books::read(&pg).await?;
    books.balance(&books)
}

async fn sweep(cx: &Check, pg: &Arc<Postgres>, operation: Operation, fault: Fault) -> Result<Swept, Failure> {
    let how = Sweep {
        side_by_side: 6,
        act_deadline: SOON + SOON,
    };
    let (pg, pulse, in_vain) = (pg.clone(), cx.pulse(), Arc::<AtomicBool>::default());
    let retired = Retired::default();
    let build = move |case: Case| {
        Round::build(
            pg.clone(),
            pulse.clone(),
            operation,
            case,
            in_vain.clone(),
            retired.clone(),
        )
    };
    match fault {
        Fault::Abort => how.abort(build).await,
        Fault::Cut => how.cut(build).await,
    }
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Transfer(u32, u32, i64),
    Close(u32),
}

impl Call {
    async fn make(self, bank: &Bank) -> Result<(), BankError> {
        match self {
            Call::Transfer(from, to, cents) => bank.transfer(from, to, cents).await.map(drop),
            Call::Close(account) => bank.close_account(account).await,
        }
    }
}

/// Keeps the services of finished cases away from the database.
type Retired = Arc<Mutex<Vec<LinkGuard>>>;

/// One case: a service of its own on accounts of its own.
struct Round {
    pg: Arc<Postgres>,
    tap: Arc<PgTap>,
    pulse: Pulse,
    operation: Operation,
    /// The first of its accounts: two that hold money, and two that are empty.
    first: u32,
    in_vain: Arc<AtomicBool>,
    retired: Retired,
    _points: (RuleGuard, RuleGuard),
}

impl Round {
    async fn build(
        pg: Arc<Postgres>,
        pulse: Pulse,
        operation: Operation,
        case: Case,
        in_vain: Arc<AtomicBool>,
        retired: Retired,
    ) -> Result<Round, Failure> {
        let base = match operation {
            Operation::Transfer => 10_000,
            Operation::Closing => 20_000,
        };
        let first = base + 10 * case.number as u32;
        deposit(&pg, &[first, first + 1], OPENING).await?;
        deposit(&pg, &[first + 2, first + 3], 0).await?;
        let tap = pg.another_tap().await?;
        let points = tap.report_to(&case.points);
        pulse.beat();
        Ok(Round {
            pg,
            tap,
            pulse,
            operation,
            first,
            in_vain,
            retired,
            _points: points,
        })
    }

    /// Waits for a call that nothing stands against. A connection that broke may be found out by the next call, so a
    /// failure of the database's is tried again. `None`: it did not end.
    async fn insist(&self, bank: &Bank, call: Call) -> Option<Result<(), BankError>> {
        let begun = Instant::now();
        let patience = || match self.in_vain.load(Ordering::SeqCst) {
            true => AFTER_ONE_IN_VAIN,
            false => SOON,
        };
        loop {
            let mut asked = std::pin::pin!(call.make(bank));
            let answer = loop {
                self.pulse.beat();
                match tokio::time::timeout(BEAT, &mut asked).await {
                    Ok(answer) => break answer,
                    Err(_) if begun.elapsed() < patience() => {}
                    Err(_) => {
                        self.in_vain.store(true, Ordering::SeqCst);
                        return None;
                    }
                }
            };
            match answer {
                Err(BankError::Db { .. }) if begun.elapsed() < patience() => {}
                answer => return Some(answer),
            }
        }
    }

    async fn transfers(&self, bank: &Bank, from: u32, to: u32) -> Outcome {
        match self.insist(bank, Call::Transfer(from, to, 1)).await {
            Some(Ok(())) => Ok(()),
            Some(Err(err)) => Err(Failure::new(format!(
                "a transfer between the same accounts failed afterwards: {err}"
            ))),
            None => Err(
                Failure::new("a transfer between the same accounts did not end afterwards")
                    .because("What the interrupted call had taken was not given back."),
            ),
        }
    }

    async fn moved_once_or_not_at_all(&self, told: bool) -> Outcome {
        let (from, to) = (self.first, self.first + 1);
        let sql = format!(
            "SELECT (SELECT count(*) FROM transfers WHERE from_id = {from} AND cents = {CENTS}),
                    (SELECT balance_cents FROM accounts WHERE id = {from}),
                    (SELECT balance_cents FROM accounts WHERE id = {to})"
        );
        let found = numbers(&self.pg, &sql).await?;
        let [made, left, arrived] = found[..] else {
            return Err(Failure::environment("the accounts could not be read"));
        };
        ensure!(
            made <= 1,
            "A transfer whose outcome was not known was made again.",
            "the transfer stands {made} times on record"
        );
        ensure!(
            !told || made == 1,
            "A caller is told of a transfer when it is committed, not before.",
            "the transfer answered Ok and is not on record"
        );
        ensure!(
            (left, arrived) == (OPENING - made * CENTS, OPENING + made * CENTS),
            "Both legs and the record of a transfer belong in one transaction: interrupted in between, money disappears.",
            "{made} transfers of {CENTS} are on record, and of the two accounts that held {OPENING} each, the payer holds \
             {left} and the receiver {arrived}"
        );
        Ok(())
    }

    async fn after_transfer(&self, bank: &Bank, told: bool) -> Outcome {
        let (from, to) = (self.first, self.first + 1);
        self.transfers(bank, from, to).await?;
        self.transfers(bank, to, from).await?;
        self.no_transaction_stays_open(bank).await?;
        self.moved_once_or_not_at_all(told).await
    }

    /// The only permit is back: another account can be closed, and then this one, if it is not.
    async fn after_closing(&self, bank: &Bank, told: bool) -> Outcome {
        let (account, other) = (self.first + 2, self.first + 3);
        if told {
            self.is_closed(account).await?;
        }
        for account in [other, account] {
            self.closes(bank, account).await?;
            self.is_closed(account).await?;
        }
        self.no_transaction_stays_open(bank).await
    }

    /// There is traffic meanwhile: a transaction that ends with the next use of its connection has ended.
    async fn no_transaction_stays_open(&self, bank: &Bank) -> Outcome {
        let begun = Instant::now();
        loop {
            let open = transactions_left_open(&self.pg, &self.tap.pids()).await?;
            if open == 0 {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < SOON,
                "A session stays in its transaction when nobody works in it any more: it keeps its locks.",
                "{open} sessions are still idle in transaction, {SOON:?} after the interruption"
            );
            self.transfers(bank, self.first, self.first + 1).await?;
            self.transfers(bank, self.first + 1, self.first).await?;
        }
    }

    async fn closes(&self, bank: &Bank, account: u32) -> Outcome {
        match self.insist(bank, Call::Close(account)).await {
            Some(Ok(()) | Err(BankError::NoAccount { .. })) => Ok(()),
            Some(Err(err)) => Err(Failure::new(format!("closing an empty account failed afterwards: {err}"))),
            None => Err(Failure::new("an account could not be closed afterwards").because(
                "A permit was taken and not given back on every way out: whoever leaves early takes it along.",
            )),
        }
    }

    async fn is_closed(&self, account: u32) -> Outcome {
        let sql = format!("SELECT count(*) FROM accounts WHERE id = {account} AND closed_at IS NOT NULL");
        let found = numbers(&self.pg, &sql).await?;
        ensure!(
            found == [1],
            "A closing that is not in the table when the call returns is none.",
            "closing account {account} answered Ok, and the table says that it is open"
        );
        Ok(())
    }
}

impl Scene for Round {
    type Subject = Bank;
    type Answer = Result<(), BankError>;

    /// On two connections, both with their statements prepared.
    async fn boot(&self) -> Result<Bank, Failure> {
        let cfg = BankConfig {
            pool_size: 2,
            inbox: 2,
            max_closing: 1,
        };
        let bank = Bank::start(cfg, &self.tap.url()).await;
        for _ in 0..3 {
            self.transfers(&bank, self.first, self.first + 1).await?;
            self.transfers(&bank, self.first + 1, self.first).await?;
        }
        Ok(bank)
    }

    async fn act(&self, bank: &Bank) -> Self::Answer {
        let call = match self.operation {
            Operation::Transfer => Call::Transfer(self.first, self.first + 1, CENTS),
            Operation::Closing => Call::Close(self.first + 2),
        };
        call.make(bank).await
    }

    async fn verify(&self, after: After<Bank, Self::Answer>) -> Outcome {
        self.pulse.beat();
        match &after.answer {
            Some(Err(err)) if after.number == 0 => {
                return Err(Failure::new(format!("undisturbed, it failed: {err}")));
            }
            Some(Ok(())) | Some(Err(BankError::Db { .. })) | None => {}
            Some(Err(err)) => {
                return Err(Failure::new(format!(
                    "a failure of the database was told as: {err}"
                )));
            }
        }
        let told = matches!(after.answer, Some(Ok(())));
        let Some(bank) = after.subject else {
            return Err(Failure::environment("the service is gone with its sweep"));
        };
        let judged = match self.operation {
            Operation::Transfer => self.after_transfer(&bank, told).await,
            Operation::Closing => self.after_closing(&bank, told).await,
        };
        // What keeps the pool alive after its service shall not keep the server's connections.
        drop(bank);
        let refused = self.tap.refuse();
        self.tap.cut_all();
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.push(refused);
        judged
    }
}
