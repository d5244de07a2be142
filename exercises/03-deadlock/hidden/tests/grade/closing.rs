//! Closings: refused in every way, limited, and going on.

use std::sync::atomic::{AtomicUsize, Ordering};

use deadlock_hidden::books::{Books, numbers};
use deadlock_hidden::branch::{Branch, deposit, onboard, returned};
use deadlock_hidden::quiet::until_quiet;
use deadlock_hidden::subject::{Bank, BankConfig, BankError};
use harness::{Check, Failure, Outcome, ensure};
use tokio::task::JoinSet;

const FULL: u32 = 1;
const HOUSE: u32 = 2;
const CLOSED: u32 = 3;
/// Empty accounts, to be closed one after the other.
const EMPTY: u32 = 100;
/// No closing takes more.
const STATEMENTS_MAX: usize = 12;

pub async fn goes_on(cx: &Check) -> Outcome {
    let max_closing = cx.draw("max_closing", &[2, 3, 4]);
    let cfg = BankConfig {
        pool_size: 8,
        inbox: 8,
        max_closing,
    };
    let branch = Branch::open(cx, cfg, &[FULL]).await?;
    let empty: Vec<u32> = (EMPTY..EMPTY + 40).collect();
    deposit(&branch.pg, &empty, 0).await?;
    onboard(
        &branch.pg,
        &format!(
            "INSERT INTO accounts (id, balance_cents, house, closed_at)
             VALUES ({HOUSE}, 0, true, NULL), ({CLOSED}, 0, false, now())"
        ),
    )
    .await?;
    // Anew: accounts opened while it runs are another check's.
    let branch = Branch::at(cx, branch.pg.clone(), cfg).await?;
    let before = Books::read(&branch.pg).await?;
    let mut closings = Closings {
        cx,
        branch: &branch,
        max_closing,
        next: EMPTY,
    };
    closings
        .refused("a closed account", CLOSED, |err| {
            matches!(err, BankError::NoAccount { .. })
        })
        .await?;
    closings
        .refused("an account that holds money", FULL, |err| {
            matches!(err, BankError::NotEmpty { .. })
        })
        .await?;
    closings
        .refused("an account of the bank's own", HOUSE, |err| {
            matches!(err, BankError::House { .. })
        })
        .await?;
    closings.cut_off().await?;
    closings.abandoned().await?;
    closings.overtaken().await?;
    closings.twice().await?;
    closings.limited().await?;
    closings.against_transfers().await?;
    Books::read(&branch.pg).await?.balance(&before)
}

struct Closings<'a> {
    cx: &'a Check,
    branch: &'a Branch,
    max_closing: usize,
    next: u32,
}

impl Closings<'_> {
    /// More refusals than closings are allowed at one time, and then one that nothing stands against.
    async fn refused(&mut self, what: &str, account: u32, right: impl Fn(&BankError) -> bool) -> Outcome {
        self.begin(&format!("closing {what}, again and again"));
        for _ in 0..self.max_closing + 2 {
            let answer = self.branch.bank.close_account(account).await;
            self.cx.beat();
            ensure!(
                answer.as_ref().is_err_and(&right),
                "Each refusal says what it is about.",
                "closing {what} answered {answer:?}"
            );
        }
        self.one_more(what).await
    }

    /// Their connections break.
    async fn cut_off(&mut self) -> Outcome {
        self.begin("closings whose connection to the database breaks");
        let cut = self.branch.tap.cut_before(|request| request.runs_data());
        for _ in 0..self.max_closing + 2 {
            let answer = self.branch.bank.close_account(FULL).await;
            self.cx.beat();
            ensure!(
                matches!(answer, Err(BankError::Db { .. })),
                "What the database did not do has not been done.",
                "closing an account with a broken connection answered {answer:?}"
            );
        }
        drop(cut);
        self.one_more("accounts on a broken connection").await
    }

    /// Their callers go away while the database works. Whatever was detached from the call goes on to its end.
    async fn abandoned(&mut self) -> Outcome {
        self.begin("closings whose callers go away");
        for _ in 0..self.max_closing + 2 {
            let gate = self.branch.tap.hold_replies(|request| request.runs_data());
            let mut set = JoinSet::new();
            self.branch
                .call(&mut set, |bank| async move { bank.close_account(FULL).await });
            until_quiet(&self.branch.pulse, || gate.waiting(), 0, 1).await;
            set.shutdown().await;
            gate.open();
        }
        self.one_more("accounts whose callers go away").await
    }

    /// Their callers go away while a statement is on its way to the database, and money arrives before it does. Whether it
    /// was buried shows in the books.
    async fn overtaken(&mut self) -> Outcome {
        self.begin("closings whose callers go away, and transfers to the account");
        for statement in 1..=STATEMENTS_MAX {
            let account = self.take();
            let seen = AtomicUsize::new(0);
            let gate = self.branch.tap.hold_requests(move |request| {
                request.runs_data() && seen.fetch_add(1, Ordering::SeqCst) + 1 == statement
            });
            let mut set = JoinSet::new();
            let closing = self.branch.call(
                &mut set,
                move |bank| async move { bank.close_account(account).await },
            );
            let come = || gate.waiting() + usize::from(closing.is_finished());
            until_quiet(&self.branch.pulse, come, 1, 1).await;
            if closing.is_finished() {
                break;
            }
            set.shutdown().await;

            let mut moving = JoinSet::new();
            let transfer = self.branch.transfer(&mut moving, FULL, account, 5);
            // Whoever holds the account until the statement has come lets nothing through; that is right as well.
            let moved = || usize::from(transfer.is_finished());
            until_quiet(&self.branch.pulse, moved, 0, 1).await;
            gate.open();
            drop(gate);
            while let Some(answer) = moving.join_next().await {
                let answer = returned(answer)?;
                ensure!(
                    matches!(answer, Ok(_) | Err(BankError::NoAccount { .. })),
                    "A closing whose caller has gone is over, or it goes on: a transfer to the account is made, or finds it \
                     closed.",
                    "a transfer to an account that was being closed answered {answer:?}"
                );
            }
        }
        self.one_more("accounts whose callers go away before a transfer")
            .await
    }

    /// The same account, twice at once.
    async fn twice(&mut self) -> Outcome {
        self.begin("an account that is closed twice at once");
        let account = self.take();
        let gate = self.branch.tap.hold_replies(|request| request.runs_data());
        let mut set = JoinSet::new();
        for _ in 0..2 {
            self.branch.call(
                &mut set,
                move |bank| async move { bank.close_account(account).await },
            );
        }
        until_quiet(&self.branch.pulse, || gate.waiting(), 1, 2).await;
        gate.open();
        drop(gate);
        let mut answers = Vec::new();
        while let Some(answer) = set.join_next().await {
            answers.push(returned(answer)?);
        }
        answers.sort_by_key(Result::is_err);
        ensure!(
            matches!(answers[..], [Ok(()), Err(BankError::NoAccount { .. })]),
            "An update that finds no row has not said why: the account holds money, or somebody else has closed it.",
            "an empty account that was closed twice at once answered {answers:?}"
        );
        Ok(())
    }

    /// Many at once, with the database's answers held: no more than may be are under way.
    async fn limited(&mut self) -> Outcome {
        self.begin("many closings at once");
        let gate = self.branch.tap.hold_replies(|request| request.runs_data());
        let mut set = JoinSet::new();
        let wanted = self.max_closing + 3;
        for _ in 0..wanted {
            let account = self.take();
            self.branch.call(
                &mut set,
                move |bank| async move { bank.close_account(account).await },
            );
        }
        let under_way = until_quiet(&self.branch.pulse, || gate.waiting(), 1, wanted).await;
        gate.open();
        drop(gate);
        while let Some(answer) = set.join_next().await {
            closed(returned(answer)?)?;
        }
        ensure!(
            under_way <= self.max_closing,
            "A permit that is not held until the closing is over limits nothing.",
            "{under_way} closings were under way at one time, with max_closing = {}",
            self.max_closing
        );
        Ok(())
    }

    /// While money arrives: whichever comes first, no closed account holds any.
    async fn against_transfers(&mut self) -> Outcome {
        self.begin("closings against transfers to the same account");
        for _ in 0..8 {
            let account = self.take();
            let bank = &self.branch.bank;
            let (moved, closed) = tokio::join!(bank.transfer(FULL, account, 5), close(bank, account));
            self.cx.beat();
            ensure!(
                matches!(
                    (&moved, &closed),
                    (Ok(_), Err(BankError::NotEmpty { .. })) | (Err(BankError::NoAccount { .. }), Ok(()))
                ),
                "A transfer to an account and its closing exclude each other: one of them comes first, and the other finds what \
                 it left.",
                "of a transfer and a closing at once, the transfer answered {moved:?}, the closing {closed:?}"
            );
        }
        Ok(())
    }

    fn begin(&self, stage: &str) {
        self.branch.if_stuck(
            self.cx,
            "closings",
            "A permit was taken and not given back on every way out: whoever leaves early takes it along.",
        );
        self.cx.stage(stage);
    }

    async fn one_more(&mut self, after: &str) -> Outcome {
        self.cx.stage(format!(
            "a closing that nothing stands against, after closing {after}"
        ));
        let (account, mut set) = (self.take(), JoinSet::new());
        self.branch.call(
            &mut set,
            move |bank| async move { bank.close_account(account).await },
        );
        while let Some(answer) = set.join_next().await {
            closed(returned(answer)?)?;
        }
        let sql = format!("SELECT count(*) FROM accounts WHERE id = {account} AND closed_at IS NOT NULL");
        let found = numbers(&self.branch.pg, &sql).await?;
        ensure!(
            found == [1],
            "A closing that is not in the table when the call returns is none.",
            "closing account {account} answered Ok, and the table says that it is open"
        );
        Ok(())
    }

    fn take(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }
}

async fn close(bank: &Bank, account: u32) -> Result<(), BankError> {
    bank.close_account(account).await
}

fn closed(answer: Result<(), BankError>) -> Outcome {
    answer.map_err(|err| {
        Failure::new(format!("closing an empty account failed: {err}"))
            .because("A closing waits for its turn; nothing else stands against it.")
    })
}
