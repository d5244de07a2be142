//! A check's database with the shop's orders, and replicas before it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::postgres::{Counts, PgTap, Postgres};
use harness::{Check, Failure, OrObserved, within};
use pgwire::Client;

use crate::calls::Gets;
use crate::deploy;
use crate::outside::SetClock;
use crate::subject::{BreakerCfg, Carrier, DbConfig, Orders};
use crate::traffic;

const SCHEMA: &str = include_str!("../../migrations/0001_orders.sql");

/// The cluster is shared with other checks, so that a database gets no more than this however it is configured.
const CONNECTIONS_MAX: u32 = 30;

/// A generous deadline for what takes milliseconds once nothing holds it back.
pub const SOON: Duration = Duration::from_secs(8);

/// Longer than any check: what must not end anything.
pub const LONG: Duration = Duration::from_secs(60);

/// The shop's database, with as many connections as `deploy/postgres.ini` says.
pub async fn database(cx: &Check) -> Result<Arc<Postgres>, Failure> {
    let pg = cx.empty_postgres().await?;
    let mut owner = pg.as_subject().await?;
    owner
        .execute(&format!("{SCHEMA}; {}", traffic::shop_sql()))
        .await
        .map_err(|error| Failure::environment(format!("failed to fill the shop: {error}")))?;
    owner.close().await.ok();
    let mut admin = pg.admin().await?;
    let limit = connections().min(CONNECTIONS_MAX);
    admin
        .execute(&format!(
            "ALTER DATABASE \"{}\" CONNECTION LIMIT {limit}",
            pg.database()
        ))
        .await
        .map_err(|error| Failure::environment(format!("failed to limit connections: {error}")))?;
    admin.close().await.ok();
    Ok(pg)
}

/// `max_connections` of the configuration; the server's own default where it says nothing.
fn connections() -> u32 {
    let set = deploy::POSTGRES.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "max_connections").then(|| value.trim().parse().ok())?
    });
    set.unwrap_or(100)
}

/// A configuration in which nothing is ever over and the breaker never opens: checks shorten what they are about.
pub fn patient(url: String, max_db: usize, queue: usize) -> DbConfig {
    DbConfig {
        url,
        via_bouncer: false,
        max_db,
        queue,
        queue_wait: LONG,
        query_deadline: LONG,
        breaker: BreakerCfg {
            failures: 1_000_000,
            open_for: LONG,
        },
    }
}

/// One replica, through a tap of its own.
pub struct Stage {
    pub pg: Arc<Postgres>,
    pub tap: Arc<PgTap>,
    pub clock: Arc<SetClock>,
    pub orders: Arc<Orders>,
    pub cfg: DbConfig,
}

impl Stage {
    /// `shorten` changes what the check is about.
    pub async fn set(
        cx: &Check,
        max_db: usize,
        queue: usize,
        shorten: impl FnOnce(&mut DbConfig),
    ) -> Result<Stage, Failure> {
        let pg = database(cx).await?;
        Stage::on(&pg, max_db, queue, shorten).await
    }

    /// Another replica on a database that is there.
    pub async fn on(
        pg: &Arc<Postgres>,
        max_db: usize,
        queue: usize,
        shorten: impl FnOnce(&mut DbConfig),
    ) -> Result<Stage, Failure> {
        let tap = pg.another_tap().await?;
        let mut cfg = patient(tap.url(), max_db, queue);
        shorten(&mut cfg);
        let clock = Arc::new(SetClock::default());
        let orders = Arc::new(Orders::new(cfg.clone(), clock.clone()).await);
        Ok(Stage {
            pg: pg.clone(),
            tap,
            clock,
            orders,
            cfg,
        })
    }

    /// The same, with a replica that asks this carrier.
    pub async fn asking(self, carrier: Arc<dyn Carrier>) -> Stage {
        let orders = Orders::new(self.cfg.clone(), self.clock.clone()).await;
        Stage {
            orders: Arc::new(orders.with_carrier(carrier)),
            ..self
        }
    }

    /// The replica has done something before: as many requests at once as it has connections, if the machine allows it.
    /// Where deadlines are short, a busy machine may need several attempts.
    pub async fn warm(&self) -> Result<(), Failure> {
        let (begun, mut together) = (Instant::now(), false);
        loop {
            let gate = self.tap.hold_requests(|request| request.runs_data());
            let gets = Gets::send(&self.orders, self.cfg.max_db);
            let patience = if together { Duration::ZERO } else { SOON / 3 };
            together = gate.until_waiting(self.cfg.max_db, patience).await.is_err();
            drop(gate);
            let answered = gets
                .all_right(SOON, "with nothing in the way", "A quiet database answers.")
                .await;
            if answered.is_ok() || begun.elapsed() > SOON * 2 {
                self.settle().await;
                return answered;
            }
        }
    }

    /// Waits until nothing comes past the tap any more: what pools do on their own account. Decides nothing.
    pub async fn settle(&self) {
        let mut quiet = 0;
        let mut last = self.work();
        let settled = move || {
            let now = self.work();
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
            quiet >= 20
        };
        until(Duration::from_secs(2), "", settled).await.ok();
    }

    /// What has been asked of the database: attempts to connect, and messages that make it work. Pings, and what closes
    /// things, are nobody's request.
    pub fn work(&self) -> Work {
        Work::of(&self.tap.counts())
    }

    /// A row with one number, from the server itself.
    pub async fn number(&self, admin: &mut Client, sql: &str) -> Result<i64, Failure> {
        let rows = admin
            .query(sql)
            .await
            .map_err(|error| Failure::environment(format!("failed to ask the server: {error}")))?;
        rows.first()
            .and_then(|row| row.text(0)?.parse().ok())
            .or_observed("the server's answer is no number")
    }

    /// No transaction is left open.
    pub async fn nothing_left_open(&self) -> Result<(), Failure> {
        let closed = || self.tap.counts().transactions_open == 0;
        until(SOON, "the end of the last transaction", closed)
            .await
            .map_err(|failure| failure.because(LEFT_OPEN))
    }
}

const LEFT_OPEN: &str = "A call that is given up must not leave a transaction behind: whoever gets that connection next \
                         works inside it, and it holds back the whole database.";

/// Waits for a state that sends no event when it changes. Like [`harness::eventually`], for what asks nobody.
pub async fn until(deadline: Duration, what: &str, mut done: impl FnMut() -> bool) -> Result<(), Failure> {
    let polled = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    within(deadline, what, polled).await
}

/// See [`Stage::work`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub attempts: u64,
    pub statements: u64,
    pub parses: u64,
}

impl Work {
    fn of(counts: &Counts) -> Work {
        Work {
            attempts: counts.attempts,
            statements: counts.executes + counts.simple_queries,
            parses: counts.parses,
        }
    }

    pub fn since(self, before: Work) -> Work {
        Work {
            attempts: self.attempts - before.attempts,
            statements: self.statements.saturating_sub(before.statements),
            parses: self.parses - before.parses,
        }
    }

    /// But for an attempt or two to connect: a pool may see to its connections on its own account.
    pub fn is_nothing(self) -> bool {
        self.attempts <= 2 && (self.statements, self.parses) == (0, 0)
    }
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} attempts to connect, {} statements, {} statements prepared",
            self.attempts, self.statements, self.parses
        )
    }
}
