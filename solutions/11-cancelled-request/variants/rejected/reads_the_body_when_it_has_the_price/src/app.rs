//! The service's state and its routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::Probe;
use crate::error::AppError;
use crate::reports;
use crate::store::Store;

/// How long the end of what was given up may take.
const WRAP_UP: Duration = Duration::from_secs(5);
const CLOSE: Duration = Duration::from_secs(2);

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
    pub(crate) store: Store,
    pub(crate) cfg: Arc<AppCfg>,
    pub(crate) probe: Arc<Probe>,
    /// Reports under way, and the ends of those that were given up.
    pub(crate) jobs: TaskTracker,
    /// The grace is over.
    pub(crate) stop: CancellationToken,
}

impl AppState {
    /// # Panics
    /// When `db_url` is no address of a database. Whether there is one shows with the first request.
    pub async fn new(db_url: &str, cfg: AppCfg, probe: Arc<Probe>) -> AppState {
        AppState {
            store: Store::new(db_url, &cfg),
            cfg: Arc::new(cfg),
            probe,
            jobs: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Called once the instance gets no more requests; the process ends when it returns.
    pub async fn shutdown(self, grace: Duration) {
        self.jobs.close();
        let _ = timeout(grace, self.jobs.wait()).await;
        self.stop.cancel();
        let _ = timeout(WRAP_UP, self.jobs.wait()).await;
        let _ = timeout(CLOSE, self.store.close()).await;
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
    Ok(format!("{}\n", st.store.reports_done().await?))
}

async fn metrics(State(st): State<AppState>) -> String {
    format!(
        "crunch_steps_total {}\ndb_connections {}\ndb_connections_idle {}\n",
        st.probe.steps(),
        st.store.db.size(),
        st.store.db.num_idle()
    )
}
