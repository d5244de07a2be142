//! The service's state and its routes.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::Probe;
use crate::error::AppError;
use crate::{reports, store};

#[derive(Clone, Debug)]
pub struct AppCfg {
    /// Connections to the database that reports and pages share.
    pub pool: u32,
    /// How long a request waits for one of them: five seconds in production.
    pub acquire_timeout: Duration,
    /// The price service, `http://host:port`.
    pub prices_url: String,
    /// What `main` gives to [`AppState::shutdown`].
    pub grace: Duration,
}

#[derive(Clone, Debug)]
pub struct AppState {
    pub(crate) db: PgPool,
    pub(crate) cfg: Arc<AppCfg>,
    pub(crate) probe: Arc<Probe>,
    /// Everything that has to be over before the process may end: reports, and what they leave to clean up.
    pub(crate) jobs: TaskTracker,
    /// Every report has a child of it, which ends that report alone.
    pub(crate) stopping: CancellationToken,
}

impl AppState {
    /// # Panics
    /// When `db_url` is no address of a database. Whether there is one shows with the first request.
    pub async fn new(db_url: &str, cfg: AppCfg, probe: Arc<Probe>) -> AppState {
        let db = PgPoolOptions::new()
            .max_connections(cfg.pool)
            .acquire_timeout(cfg.acquire_timeout)
            .connect_lazy_with(
                PgConnectOptions::from_str(db_url)
                    .expect("the address of the database")
                    .options([("statement_timeout", "1s")]),
            );
        AppState {
            db,
            cfg: Arc::new(cfg),
            probe,
            jobs: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }

    /// Called once the instance gets no more requests; the process ends when it returns.
    pub async fn shutdown(self, grace: Duration) {
        self.jobs.close();
        if tokio::time::timeout(grace, self.jobs.wait()).await.is_err() {
            self.stopping.cancel();
            self.jobs.wait().await;
        }
        self.db.close().await;
    }
}

pub fn app(st: AppState) -> Router {
    Router::new()
        .route("/reports", post(reports::create))
        .route("/quick", get(quick))
        .route("/metrics", get(metrics))
        .with_state(st)
}

/// The number of reports so far, for the start page.
async fn quick(State(st): State<AppState>) -> Result<String, AppError> {
    Ok(format!("{}\n", store::reports_done(&st.db).await?))
}

async fn metrics(State(st): State<AppState>) -> String {
    format!(
        "crunch_steps_total {}\ndb_connections {}\ndb_connections_idle {}\n",
        st.probe.steps(),
        st.db.size(),
        st.db.num_idle()
    )
}
