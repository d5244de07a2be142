//! The service's state and its routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::case::Undertaker;
use crate::engine::Probe;
use crate::error::AppError;
use crate::{reports, store};

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
    pub(crate) db: PgPool,
    pub(crate) cfg: Arc<AppCfg>,
    pub(crate) probe: Arc<Probe>,
    pub(crate) undertaker: Undertaker,
    /// Set to true when the grace is over.
    pub(crate) stop: watch::Sender<bool>,
}

impl AppState {
    /// # Panics
    /// When `db_url` is no address of a database. Whether there is one shows with the first request.
    pub async fn new(db_url: &str, cfg: AppCfg, probe: Arc<Probe>) -> AppState {
        let options: PgConnectOptions = db_url.parse().expect("the address of the database");
        let db = PgPoolOptions::new()
            .max_connections(cfg.pool)
            .acquire_timeout(cfg.acquire_timeout)
            .connect_lazy_with(options.clone());
        let stop = watch::Sender::new(false);
        AppState {
            db,
            cfg: Arc::new(cfg),
            probe,
            undertaker: Undertaker::new(options, stop.subscribe()),
            stop,
        }
    }

    /// Called once the instance gets no more requests; the process ends when it returns.
    pub async fn shutdown(self, grace: Duration) {
        let tracker = self.undertaker.tracker();
        tracker.close();
        let _ = timeout(grace, tracker.wait()).await;
        self.stop.send_replace(true);
        let _ = timeout(WRAP_UP, tracker.wait()).await;
        let close = async { tokio::join!(self.db.close(), self.undertaker.close()) };
        let _ = timeout(CLOSE, close).await;
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
