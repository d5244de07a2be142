//! An instance of the service with everything around it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::postgres::{PgTap, Postgres};
use harness::{Check, Failure, Machine, OrObserved, eventually};
use sqlx::postgres::PgPoolOptions;

use crate::door::Door;
use crate::prices::Prices;
use crate::steps::Steps;
use crate::subject::{AppCfg, AppState, Probe, app, migrate};
use crate::traffic::{self, QUICK, Wanted};
use crate::visit::{Answer, Visit, ask};
use crate::warehouse::Warehouse;

/// A generous deadline for what takes milliseconds once nothing holds it back.
pub const SOON: Duration = Duration::from_secs(10);
/// For what the contract says is over within two seconds: a slow machine may take longer.
pub const END: Duration = Duration::from_secs(5);
/// Longer than any check.
pub const FOREVER_S: f64 = 120.0;
/// Longer than any check waits: who waits for a connection for too long is found out by the checks' own deadlines, which
/// know of slow machines.
pub const ACQUIRE: Duration = Duration::from_secs(60);
/// What `main` would give.
pub const GRACE: Duration = Duration::from_secs(5);

/// The provided schema, which a migration of a fix has no business to change.
const PROVIDED: &str = include_str!("../../migrations/0001_reports.sql");

pub struct Stage {
    pub pg: Arc<Postgres>,
    pub tap: Arc<PgTap>,
    pub warehouse: Warehouse,
    pub prices: Prices,
    pub steps: Steps,
    pub state: AppState,
    pub door: Door,
}

/// How many of so many statements, over that time, were not in the background.
pub fn beside_background(statements: usize, background_per_s: f64, lasted: Duration) -> f64 {
    if background_per_s == 0.0 {
        return statements as f64;
    }
    let background = (background_per_s * lasted.as_secs_f64()).ceil() + 1.0;
    (statements as f64 - background).max(0.0)
}

/// The check's database, with the subject's schema and the provided warehouse.
pub async fn database(cx: &Check) -> Result<Arc<Postgres>, Failure> {
    let pg = cx.postgres().await?;
    let tap = pg.another_tap().await?;
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy(&tap.url());
    let pool = pool.or_observed("the pool's address")?;
    migrate(&pool).await.or_observed("the migrations failed")?;
    pool.close().await;
    let function = PROVIDED.find("CREATE FUNCTION").map(|at| &PROVIDED[at..]);
    let function = function.or_observed("0001_reports.sql has lost slow_rows")?;
    // Who knows what the provided warehouse holds need not ask it; this one holds something else.
    let factor = cx.draw("what the warehouse holds", &[11, 13, 17, 19]);
    traffic::stock(factor);
    let function = function
        .replacen("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
        .replacen("line * 7 ", &format!("line * {factor} "), 1);
    let mut admin = pg.admin().await?;
    admin
        .execute(&function)
        .await
        .or_observed("slow_rows, which is provided, cannot be put back")?;
    Ok(pg)
}

async fn start(url: String, cfg: AppCfg, probe: Arc<Probe>) -> Result<(AppState, Door), Failure> {
    let state = AppState::new(&url, cfg, probe).await;
    let door = Door::open(app(state.clone())).await?;
    Ok((state, door))
}

impl Stage {
    pub async fn set(cx: &Check, pool: u32) -> Result<Stage, Failure> {
        let pg = database(cx).await?;
        let url = pg.url();
        Stage::at(cx, pg, &url, pool).await
    }

    /// The instance is given `url` as its database's address.
    pub async fn at(cx: &Check, pg: Arc<Postgres>, url: &str, pool: u32) -> Result<Stage, Failure> {
        let start = async |url: String, cfg, probe| start(url, cfg, probe).await;
        Stage::started(cx, pg, url, pool, start).await
    }

    /// Like [`Stage::at`], on a machine of its own.
    pub async fn on(
        cx: &Check,
        pg: Arc<Postgres>,
        url: &str,
        pool: u32,
        machine: &Machine,
    ) -> Result<Stage, Failure> {
        let start = async |url: String, cfg, probe| {
            let started = machine.run(start(url, cfg, probe)).await;
            started.or_observed("the instance panicked")?
        };
        Stage::started(cx, pg, url, pool, start).await
    }

    async fn started(
        cx: &Check,
        pg: Arc<Postgres>,
        url: &str,
        pool: u32,
        start: impl AsyncFnOnce(String, AppCfg, Arc<Probe>) -> Result<(AppState, Door), Failure>,
    ) -> Result<Stage, Failure> {
        let prices = Prices::start(cx.harness_handle())?;
        let steps = Steps::new();
        let cfg = AppCfg {
            pool,
            acquire_timeout: ACQUIRE,
            prices_url: prices.url(),
            grace: GRACE,
        };
        let (state, door) = start(url.to_owned(), cfg, steps.probe()).await?;
        Ok(Stage {
            tap: pg.tap().clone(),
            warehouse: Warehouse::visit(&pg),
            pg,
            prices,
            steps,
            state,
            door,
        })
    }

    /// A client comes and orders a report.
    pub async fn order(&self, wanted: &Wanted) -> Result<Visit, Failure> {
        Visit::begin(self.door.address(), &wanted.request()).await
    }

    /// Orders a report and waits for it.
    pub async fn make(&self, wanted: &Wanted, deadline: Duration) -> Result<Answer, Failure> {
        let what = format!("the answer to {}", wanted.id);
        ask(self.door.address(), &wanted.request(), deadline, &what).await
    }

    pub async fn quick(&self, deadline: Duration) -> Result<Answer, Failure> {
        ask(self.door.address(), QUICK, deadline, "the start page").await
    }

    /// Whether the statement that reads that report's lines has been sent.
    pub fn has_asked(&self, wanted: &Wanted) -> bool {
        let marker = wanted.marker();
        let statements = self.tap.statements();
        statements
            .iter()
            .any(|statement| statement.sql.contains("slow_rows") && statement.sql.contains(&marker))
    }

    /// Waits until the statement that reads that report's lines has been sent, and the server is at work.
    pub async fn until_at_the_warehouse(&self, wanted: &Wanted, deadline: Duration) -> Result<(), Failure> {
        let what = format!("the statement for {} ({})", wanted.id, wanted.marker());
        let answered = async {
            self.door.until_left(&wanted.id, deadline * 2).await;
            Failure::new(format!("{what} was not sent: its client was answered before"))
        };
        let asked = eventually(deadline, &what, async || {
            let busy = self.has_asked(wanted) && !self.warehouse.busy().await.ok()?.is_empty();
            busy.then_some(())
        });
        tokio::select! {
            biased;
            asked = asked => asked,
            failure = answered => Err(failure),
        }
    }

    /// Waits until the statements of all of these have been sent, or no more come: how many reports a service makes at one
    /// time is its own affair.
    pub async fn until_no_more_come(&self, wanted: &[Wanted]) -> Result<(), Failure> {
        const NO_MORE: Duration = Duration::from_millis(1_500);
        let mut came = (0, Instant::now());
        eventually(SOON, "the statement of a report", async || {
            let asked = wanted.iter().filter(|wanted| self.has_asked(wanted)).count();
            if asked != came.0 {
                came = (asked, Instant::now());
            }
            (asked == wanted.len() || asked > 0 && came.1.elapsed() > NO_MORE).then_some(())
        })
        .await
    }

    /// Returns when the service has had its chance to react: nothing has come to the database for a while, during which
    /// the runtime's workers have been turning.
    pub async fn quiet(&self) {
        const QUIET: Duration = Duration::from_millis(250);
        const TURNS: usize = 20;
        const LONGEST: Duration = Duration::from_secs(3);
        let begun = Instant::now();
        let (mut heard, mut since, mut turns) = (self.tap.counts(), Instant::now(), 0);
        while (since.elapsed() < QUIET || turns < TURNS) && begun.elapsed() < LONGEST {
            tokio::time::sleep(QUIET / TURNS as u32).await;
            tokio::spawn(async {}).await.ok();
            turns += 1;
            let counts = self.tap.counts();
            if counts != heard {
                (heard, since, turns) = (counts, Instant::now(), 0);
            }
        }
    }

    /// Statements per second while nobody asks for anything: what a service does beside its requests must not count as theirs.
    pub async fn background(&self) -> f64 {
        const WINDOW: Duration = Duration::from_millis(1_500);
        self.quiet().await;
        let sent = self.tap.statements().len();
        tokio::time::sleep(WINDOW).await;
        self.statements_after(sent).len() as f64 / WINDOW.as_secs_f64()
    }

    /// The statements that read or change data, after the first `n` of any kind, in a line each.
    pub fn statements_after(&self, n: usize) -> Vec<String> {
        let arrived = self.tap.statements_after(n).into_iter();
        arrived
            .filter(|statement| statement.data)
            .map(|statement| statement.sql.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }
}
