//! A report under way. It is made within the request's future; dropping its [`Case`] is giving it up, wherever it was,
//! and the [`Undertaker`] does what that takes.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::engine::crunch::{Line, Row};
use crate::reports::Order;
use crate::store;

/// How long the server may take to tell a session that it is over, before it is asked again.
const LAST_WORDS: Duration = Duration::from_millis(800);
const ASKED: usize = 2;
const RETRY: Duration = Duration::from_millis(300);

#[derive(Clone, Debug)]
pub struct Undertaker {
    /// Two sessions of its own.
    db: PgPool,
    tracker: TaskTracker,
    runtime: Handle,
    stop: watch::Receiver<bool>,
}

/// What is left of a report that was dropped.
struct Remains {
    report: String,
    event: &'static str,
    session: Option<(PgConnection, Option<i32>)>,
}

impl Undertaker {
    pub fn new(options: PgConnectOptions, stop: watch::Receiver<bool>) -> Undertaker {
        let db = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(Duration::from_secs(1))
            .connect_lazy_with(options);
        Undertaker {
            db,
            tracker: TaskTracker::new(),
            runtime: Handle::current(),
            stop,
        }
    }

    /// Of reports, calculations and ends.
    pub fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    pub async fn close(&self) {
        self.db.close().await;
    }

    fn take(&self, remains: Remains) -> JoinHandle<()> {
        self.tracker.spawn_on(self.clone().bury(remains), &self.runtime)
    }

    async fn bury(self, remains: Remains) {
        let Remains { report, event, mut session } = remains;
        let mut last = 3;
        while last > 0 && self.try_to_bury(&report, event, &mut session).await.is_err() {
            if *self.stop.borrow() {
                last -= 1;
            }
            sleep(RETRY).await;
        }
    }

    /// All that there is to do, on one session.
    async fn try_to_bury(
        &self,
        report: &str,
        event: &str,
        session: &mut Option<(PgConnection, Option<i32>)>,
    ) -> sqlx::Result<()> {
        let mut db = self.db.acquire().await?;
        if let Some((conn, pid)) = session.take() {
            end_session(&mut db, conn, pid).await;
        }
        store::end(&mut db, report, event).await?;
        db.return_to_pool().await;
        Ok(())
    }
}

/// Has the server end a session that nobody else uses, and waits for the end: what it did is decided then.
async fn end_session(db: &mut PgConnection, mut conn: PgConnection, pid: Option<i32>) {
    if let Some(pid) = pid {
        for _ in 0..ASKED {
            let asked = timeout(LAST_WORDS, store::terminate(db, pid));
            let (_, ended) = tokio::join!(asked, timeout(LAST_WORDS, idle_or_gone(&mut conn)));
            if ended.is_ok() {
                break;
            }
        }
    }
    drop(conn);
}

/// Reads to the end of what the session was doing.
async fn idle_or_gone(conn: &mut PgConnection) {
    while let Err(sqlx::Error::Database(_)) = conn.ping().await {}
}

pub struct Case {
    report: String,
    undertaker: Undertaker,
    /// The session that is at work for it.
    session: Option<(PoolConnection<Postgres>, Option<i32>)>,
    /// Whether `started` may have been entered, and no end.
    open: bool,
    _tracked: TaskTrackerToken,
}

impl Case {
    pub fn new(report: &str, undertaker: &Undertaker) -> Case {
        Case {
            report: report.to_owned(),
            undertaker: undertaker.clone(),
            session: None,
            open: false,
            _tracked: undertaker.tracker.token(),
        }
    }

    pub async fn start(&mut self, db: &PgPool) -> sqlx::Result<()> {
        self.session(db).await?;
        self.open = true;
        let Some((conn, _)) = &mut self.session else {
            return Err(sqlx::Error::PoolClosed);
        };
        let started = store::start(conn, &self.report).await;
        self.release().await;
        started
    }

    pub async fn lines(&mut self, db: &PgPool, order: &Order) -> sqlx::Result<Vec<Line>> {
        self.session(db).await?;
        let Some((conn, _)) = &mut self.session else {
            return Err(sqlx::Error::PoolClosed);
        };
        let lines = store::slow_rows(conn, order).await;
        self.release().await;
        sleep(Duration::from_secs_f64((order.secs - 0.2).max(0.0))).await;
        lines
    }

    pub async fn finish(&mut self, db: &PgPool, rows: &[Row]) -> sqlx::Result<()> {
        self.session(db).await?;
        let Some((conn, _)) = &mut self.session else {
            return Err(sqlx::Error::PoolClosed);
        };
        let finished = store::finish(conn, &self.report, rows).await;
        self.release().await;
        finished
    }

    /// Its end has been entered.
    pub fn is_done(&mut self) {
        self.open = false;
    }

    pub async fn fail(&mut self) {
        if let Some(entered) = self.hand_over("failed") {
            // For the sake of the order only: the entry is made, whether somebody waits here or not.
            let _ = timeout(Duration::from_secs(3), entered).await;
        }
    }

    async fn session(&mut self, db: &PgPool) -> sqlx::Result<()> {
        let conn = db.acquire().await?;
        let (conn, pid) = self.session.insert((conn, None));
        let known = store::pid(conn).await;
        match known {
            Ok(known) => *pid = Some(known),
            Err(_) => self.session = None,
        }
        known.map(|_| ())
    }

    async fn release(&mut self) {
        if let Some((mut conn, _)) = self.session.take() {
            // In a task, so that it cannot be interrupted.
            let returned = self.undertaker.tracker.spawn(conn.return_to_pool());
            let _ = returned.await;
        }
    }

    fn hand_over(&mut self, event: &'static str) -> Option<JoinHandle<()>> {
        // Detached, it leaves its place in the pool to others.
        let session = self.session.take().map(|(conn, pid)| (conn.detach(), pid));
        let open = std::mem::take(&mut self.open);
        (open || session.is_some()).then(|| {
            let report = self.report.clone();
            self.undertaker.take(Remains { report, event, session })
        })
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        self.hand_over("cancelled");
    }
}
