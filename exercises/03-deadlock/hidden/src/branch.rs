//! A check's stage: the service with a database of its own, a tap, and its customers' accounts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::postgres::{PgTap, Postgres};
use harness::{Check, Failure, OrObserved, Outcome, Pulse};
use sqlx::postgres::PgPoolOptions;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::subject::{Bank, BankConfig, BankError, TxId, migrate};

/// What each customer starts with.
pub const OPENING: i64 = 100_000;

/// A configuration that is in nobody's way.
pub const ROOMY: BankConfig = BankConfig {
    pool_size: 16,
    inbox: 8,
    max_closing: 4,
};

pub struct Branch {
    pub pg: Arc<Postgres>,
    pub tap: Arc<PgTap>,
    pub bank: Arc<Bank>,
    pub pulse: Pulse,
    /// Calls that were made, and those that have returned.
    pub calls: Arc<Calls>,
}

#[derive(Debug, Default)]
pub struct Calls {
    made: AtomicUsize,
    returned: AtomicUsize,
}

impl Calls {
    pub fn note_made(&self) {
        self.made.fetch_add(1, Ordering::SeqCst);
    }

    pub fn note_returned(&self) {
        self.returned.fetch_add(1, Ordering::SeqCst);
    }

    pub fn told(&self, what: &str) -> String {
        let (made, returned) = (
            self.made.load(Ordering::SeqCst),
            self.returned.load(Ordering::SeqCst),
        );
        match made - returned {
            0 => "a call has not returned".to_owned(),
            left => format!("{left} of {made} {what} have not returned"),
        }
    }
}

impl Branch {
    /// The accounts are there before the service starts.
    pub async fn open(cx: &Check, cfg: BankConfig, accounts: &[u32]) -> Result<Branch, Failure> {
        let _errand = cx.errand();
        let pg = database(cx).await?;
        deposit(&pg, accounts, OPENING).await?;
        Branch::at(cx, pg, cfg).await
    }

    pub async fn at(cx: &Check, pg: Arc<Postgres>, cfg: BankConfig) -> Result<Branch, Failure> {
        let tap = pg.another_tap().await?;
        let bank = Arc::new(Bank::start(cfg, &tap.url()).await);
        Ok(Branch {
            pg,
            tap,
            bank,
            pulse: cx.pulse(),
            calls: Arc::default(),
        })
    }

    /// The service once more, on the same database and with the same count of calls.
    pub async fn anew(&self, cx: &Check, cfg: BankConfig) -> Result<Branch, Failure> {
        let calls = self.calls.clone();
        let fresh = Branch::at(cx, self.pg.clone(), cfg).await?;
        Ok(Branch { calls, ..fresh })
    }

    /// What it means if no call returns any more.
    pub fn if_stuck(&self, cx: &Check, what: &'static str, because: &str) {
        let calls = self.calls.clone();
        cx.if_stuck(because, move || calls.told(what));
    }

    /// Makes a call in a task of its own, and notes when it returns. The handle tells whether it has.
    pub fn call<T, F>(
        &self,
        set: &mut JoinSet<T>,
        call: impl FnOnce(Arc<Bank>) -> F + Send + 'static,
    ) -> AbortHandle
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (bank, calls, pulse) = (self.bank.clone(), self.calls.clone(), self.pulse.clone());
        calls.note_made();
        set.spawn(async move {
            let answer = call(bank).await;
            calls.note_returned();
            pulse.beat();
            answer
        })
    }

    pub fn transfer(
        &self,
        set: &mut JoinSet<Result<TxId, BankError>>,
        from: u32,
        to: u32,
        cents: i64,
    ) -> AbortHandle {
        self.call(
            set,
            move |bank| async move { bank.transfer(from, to, cents).await },
        )
    }
}

/// The check's database, with the subject's schema.
pub async fn database(cx: &Check) -> Result<Arc<Postgres>, Failure> {
    let _errand = cx.errand();
    let pg = cx.postgres().await?;
    let tap = pg.another_tap().await?;
    let db = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy(&tap.url())
        .or_observed("the pool's address")?;
    migrate(&db).await.or_observed("the migrations failed")?;
    db.close().await;
    Ok(pg)
}

/// What onboarding does: opens accounts with a deposit each.
pub async fn deposit(pg: &Postgres, accounts: &[u32], cents: i64) -> Outcome {
    let ids: Vec<String> = accounts.iter().map(u32::to_string).collect();
    let ids = ids.join(",");
    onboard(
        pg,
        &format!(
            "INSERT INTO accounts (id, balance_cents) SELECT id, {cents} FROM unnest('{{{ids}}}'::bigint[]) AS id;
             INSERT INTO transfers (to_id, cents) SELECT id, {cents} FROM unnest('{{{ids}}}'::bigint[]) AS id WHERE {cents} > 0"
        ),
    )
    .await
}

/// Runs statements of another service's on the tables.
pub async fn onboard(pg: &Postgres, sql: &str) -> Outcome {
    let mut admin = pg.admin().await?;
    admin
        .execute(sql)
        .await
        .or_observed("the tables are not as the contract says: accounts could not be opened")?;
    Ok(())
}

/// A panic of the subject's is no answer.
pub fn returned<T>(joined: Result<T, JoinError>) -> Result<T, Failure> {
    joined.or_observed("a call panicked")
}
