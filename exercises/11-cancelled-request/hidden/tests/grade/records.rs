//! The client leaves at every point of a report: each message of the instance to the database, and each answer to it.
//!
//! Here the handler's future is called and dropped without a server, which is what the server does when a client leaves.
//! After each: the audit tells one end of whatever it tells the start of, the rows are all there or none, no transaction
//! is open, and the instance goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use cancelled_request_hidden::prices::Prices;
use cancelled_request_hidden::stage::{ACQUIRE, END, GRACE, SOON, Stage, database};
use cancelled_request_hidden::subject::{AppCfg, AppState, Probe, app};
use cancelled_request_hidden::traffic::Wanted;
use cancelled_request_hidden::visit::Leave;
use cancelled_request_hidden::warehouse::{Record, Warehouse};
use harness::postgres::{PgTap, Postgres, RuleGuard};
use harness::sweep::{After, Case, Scene, Sweep};
use harness::{Check, Failure, OrObserved, Outcome, ensure, eventually, within};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

const LINES: i64 = 4;
/// How long an end may take that a client's departure has made necessary.
const ENDED: Duration = Duration::from_secs(5);
/// The same once another case has failed, which is the news.
const ENDED_AS_WELL: Duration = Duration::from_millis(500);

pub async fn whole(cx: &Check) -> Outcome {
    let pg = database(cx).await?;
    let world = Arc::new(World {
        warehouse: Warehouse::visit(&pg),
        prices: Prices::start(cx.harness_handle())?,
        pg,
        failed: AtomicBool::new(false),
    });
    let how = Sweep {
        side_by_side: 8,
        act_deadline: Duration::from_secs(40),
    };
    let swept = how
        .abort(move |case: Case| GivenUp::build(world.clone(), case))
        .await?;
    cx.note(format!("{} points were disturbed", swept.points.len()));
    at_the_last_entry(cx).await
}

/// The client leaves while the entry of its report's end waits in the server: the rows are stored with it, or not at all.
async fn at_the_last_entry(cx: &Check) -> Outcome {
    cx.stage("the audit is locked when a report is to be entered as done, and its client leaves");
    let stage = Stage::set(cx, 4).await?;
    let wanted = Wanted::new("left-at-the-last-entry", LINES).in_market("slow");
    stage.prices.hold("slow");
    let visit = stage.order(&wanted).await?;
    let asked = stage
        .prices
        .until("slow", "the price request", SOON, |asked| asked.arrived == 1);
    asked.await?;
    let broken = |error| Failure::environment(format!("failed to lock the audit: {error}"));
    let mut auditor = stage.pg.admin().await?;
    auditor
        .execute("BEGIN; LOCK TABLE audit IN EXCLUSIVE MODE")
        .await
        .map_err(broken)?;
    stage.prices.release("slow");
    let waits = eventually(SOON, "a statement that waits for the table", async || {
        let waiting = stage.warehouse.waits_for_a_lock().await;
        waiting.map_or_else(|failure| Some(Err(failure)), |waits| waits.then_some(Ok(())))
    });
    waits.await??;
    visit.leave(Leave::Fin);
    stage.door.until_left(&wanted.id, END).await;
    stage.quiet().await;
    auditor.execute("ROLLBACK").await.map_err(broken)?;
    auditor.close().await.ok();
    stage.warehouse.until_ended(&wanted.id, ENDED).await?;
    stage.quiet().await;
    let record = stage.warehouse.record(&wanted.id).await?;
    ensure!(
        matches!(
            (&record.ends()[..], record.rows),
            (["cancelled"], 0) | (["done"], LINES)
        ),
        "The rows of a report and the entry that it is done are one thing: what is stored by itself stays when the other is \
         given up.",
        "the client left while the entry of the end waited for the audit; the records say {:?} and {} rows",
        record.events,
        record.rows
    );
    Ok(())
}

struct World {
    warehouse: Warehouse,
    prices: Prices,
    pg: Arc<Postgres>,
    failed: AtomicBool,
}

struct GivenUp {
    world: Arc<World>,
    wanted: Wanted,
    tap: Arc<PgTap>,
    _points: (RuleGuard, RuleGuard),
}

impl GivenUp {
    async fn build(world: Arc<World>, case: Case) -> Result<GivenUp, Failure> {
        let tap = world.pg.another_tap().await?;
        let points = tap.report_to(&case.points);
        Ok(GivenUp {
            world,
            wanted: Wanted::new(format!("given-up-{}", case.number), LINES),
            tap,
            _points: points,
        })
    }

    /// The record, once nothing comes to the database any more.
    async fn settled(&self) -> Result<Record, Failure> {
        const QUIET: Duration = Duration::from_millis(150);
        let begun = Instant::now();
        let (mut heard, mut since, mut turns) = (self.tap.counts(), Instant::now(), 0);
        while (since.elapsed() < QUIET || turns < 8) && begun.elapsed() < END {
            tokio::time::sleep(QUIET / 8).await;
            tokio::spawn(async {}).await.ok();
            turns += 1;
            let counts = self.tap.counts();
            if counts != heard {
                (heard, since, turns) = (counts, Instant::now(), 0);
            }
        }
        self.world.warehouse.record(&self.wanted.id).await
    }

    /// What the records say in the end.
    async fn record(&self) -> Result<Record, Failure> {
        let record = self.settled().await?;
        if record.starts() == 0 || !record.ends().is_empty() {
            return Ok(record);
        }
        let World {
            warehouse, failed, ..
        } = &*self.world;
        let deadline = match failed.load(Ordering::Relaxed) {
            true => ENDED_AS_WELL,
            false => ENDED,
        };
        let ended = warehouse.until_ended(&self.wanted.id, deadline).await;
        ended.map_err(|failure| {
            failed.store(true, Ordering::Relaxed);
            failure
                .because(
                    "What has to be written down whatever happens cannot be left to a future that may be dropped: the entry went \
                     with the request.",
                )
                .evidence(format!("in the audit: {:?}", record.events))
        })?;
        self.settled().await
    }

    fn whole(&self, record: &Record, answer: Option<StatusCode>) -> Outcome {
        let told = format!(
            "{:?} in the audit, {} rows of {LINES}",
            record.events, record.rows
        );
        ensure!(
            record.starts() <= 1 && record.ends().len() <= 1,
            "Two who each write down how the report ended: exactly one of them has to.",
            "a report has more than one end: {told}"
        );
        ensure!(
            record.rows == 0 || record.rows == LINES && record.total_cents == self.wanted.total_cents(),
            "The rows of a report belong into one transaction.",
            "a report was stored in part: {told}"
        );
        let end = record.ends().first().copied();
        let fits = match (answer, end) {
            (Some(StatusCode::OK), end) => end == Some("done"),
            (Some(_), end) => matches!(end, None | Some("failed" | "cancelled")),
            (None, end) => matches!(end, None | Some("cancelled" | "done")),
        };
        ensure!(
            fits,
            "The audit tells why there is no report: because its client left, or because something failed.",
            "{}, and the records say: {told}",
            answer.map_or("the client had left".to_owned(), |status| format!(
                "the answer was {status}"
            ))
        );
        ensure!(
            end != Some("done") || record.rows == LINES,
            "A report is done when its rows are stored, and not before.",
            "the audit says done, and the rows are not there: {told}"
        );
        Ok(())
    }
}

impl Scene for GivenUp {
    type Subject = Router;
    type Answer = StatusCode;

    async fn boot(&self) -> Result<Router, Failure> {
        let cfg = AppCfg {
            pool: 2,
            acquire_timeout: ACQUIRE,
            prices_url: self.world.prices.url(),
            grace: GRACE,
        };
        let router = app(AppState::new(&self.tap.url(), cfg, Arc::new(Probe::new())).await);
        quick(&router).await?;
        Ok(router)
    }

    async fn act(&self, router: &Router) -> StatusCode {
        call(
            router,
            Request::post(self.wanted.path()).body(Body::from(self.wanted.body())),
        )
        .await
    }

    async fn verify(&self, after: After<Router, StatusCode>) -> Outcome {
        let record = self.record().await?;
        self.whole(&record, after.answer)?;
        if after.number == 0 {
            ensure!(
                after.answer == Some(StatusCode::OK),
                "Nobody left here.",
                "a report that was waited for was answered {:?}",
                after.answer
            );
        }
        let pids = self.tap.pids();
        let idle = self.world.warehouse.until_idle_of(&pids, ENDED).await;
        idle.map_err(|failure| {
            failure.because(
                "A transaction was left open: its connection keeps locks and a snapshot, and is nobody's.",
            )
        })?;
        let router = after.subject.or_observed("the instance is gone")?;
        for _ in 0..2 {
            within(SOON, "the start page", quick(&router)).await??;
        }
        Ok(())
    }
}

async fn quick(router: &Router) -> Outcome {
    let status = call(router, Request::get("/quick").body(Body::empty())).await;
    ensure!(
        status == StatusCode::OK,
        "The instance has to go on whoever left.",
        "the start page was answered {status}"
    );
    Ok(())
}

async fn call(router: &Router, request: Result<Request<Body>, axum::http::Error>) -> StatusCode {
    let Ok(request) = request else {
        return StatusCode::BAD_REQUEST;
    };
    match TowerToHyperService::new(router.clone()).call(request).await {
        Ok(response) => response.status(),
        Err(never) => match never {},
    }
}
