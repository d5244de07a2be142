//! `POST /reports`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::app::AppState;
use crate::engine::crunch::{self, Line, Row, St};
use crate::engine::{Probe, prices};
use crate::error::AppError;
use crate::store;

const UPLOAD_LEN_MAX: usize = 1024 * 1024;
const LINES_MAX: i64 = 100_000;
const SECS_MAX: f64 = 600.0;
/// For those who name no deadline.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// Which report is wanted: the query of the request.
#[derive(Clone, Debug, Deserialize)]
pub struct Order {
    /// Chosen by the client; no two reports have the same.
    pub id: String,
    pub market: String,
    pub lines: i64,
    /// About how long the warehouse will take for them.
    pub secs: f64,
}

/// A correction by hand: the body of the request is a list of them.
#[derive(Clone, Debug, Deserialize)]
struct Adjustment {
    line: i64,
    cents: i64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    id: String,
    lines: usize,
    total_cents: i64,
}

impl Order {
    fn validate(&self) -> Result<(), AppError> {
        let name = |text: &str| {
            let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            plain && (1..=60).contains(&text.len())
        };
        if !name(&self.id) || !name(&self.market) {
            return Err(AppError::Invalid("id and market: letters, digits, -".to_owned()));
        }
        if !(1..=LINES_MAX).contains(&self.lines) || !(0.0..=SECS_MAX).contains(&self.secs) {
            return Err(AppError::Invalid("lines or secs: too few or too many".to_owned()));
        }
        Ok(())
    }
}

pub async fn create(
    State(st): State<AppState>,
    Query(order): Query<Order>,
    headers: HeaderMap,
    upload: Body,
) -> Result<Json<Report>, AppError> {
    order.validate()?;
    let deadline = Instant::now() + deadline(&headers)?;
    // First, and all of it: while there is something to read on a connection, nobody sees that its client has left.
    let uploaded = timeout_at(deadline, adjustments(upload)).await;
    let adjustments = uploaded.map_err(|_| AppError::Late)??;
    let stop = st.stopping.child_token();
    run(st, order, adjustments, deadline, stop).await.map(Json)
}

/// A task of its own, so that it is there to write down how the report ended. Only the part in the middle is given up.
async fn run(
    st: AppState,
    order: Order,
    adjustments: HashMap<i64, i64>,
    deadline: Instant,
    stop: CancellationToken,
) -> Result<Report, AppError> {
    store::record(&st.db, &order.id, "started").await?;
    let made = tokio::select! {
        biased;
        () = stop.cancelled() => Err(AppError::Cancelled),
        () = sleep_until(deadline) => Err(AppError::Late),
        made = generate(&st, &order, adjustments) => made,
    };
    let made = match made {
        Ok(rows) => store::finish(&st.db, &order.id, &rows)
            .await
            .map(|()| rows)
            .map_err(AppError::from),
        Err(err) => Err(err),
    };
    let end = match &made {
        Ok(_) => None,
        Err(AppError::Cancelled | AppError::Late) => Some("cancelled"),
        Err(_) => Some("failed"),
    };
    if let Some(end) = end {
        store::record(&st.db, &order.id, end).await?;
    }
    let rows = made?;
    Ok(Report {
        id: order.id,
        lines: rows.len(),
        total_cents: rows.iter().map(|row| row.cents).sum(),
    })
}

async fn generate(
    st: &AppState,
    order: &Order,
    adjustments: HashMap<i64, i64>,
) -> Result<Vec<Row>, AppError> {
    let unit_cents = prices::lookup(&st.cfg.prices_url, &order.market).await?;
    let lines = store::slow_rows(&st.db, &st.jobs, order).await?;
    let (id, probe) = (order.id.clone(), st.probe.clone());
    let stop = CancellationToken::new();
    // A closure that has begun cannot be aborted; it has to be told.
    let _running = stop.clone().drop_guard();
    let crunching = move || crunch_all(&id, lines, unit_cents, adjustments, probe, &stop);
    Ok(st.jobs.spawn_blocking(crunching).await?)
}

fn crunch_all(
    id: &str,
    lines: Vec<Line>,
    unit_cents: i64,
    adjustments: HashMap<i64, i64>,
    probe: Arc<Probe>,
    stop: &CancellationToken,
) -> Vec<Row> {
    let mut st = St::new(id, lines, unit_cents, probe.clone());
    while !stop.is_cancelled() && crunch::step(&mut st, &probe) {}
    let mut rows = st.rows();
    for row in &mut rows {
        row.cents += adjustments.get(&row.line).copied().unwrap_or(0);
    }
    rows
}

async fn adjustments(upload: Body) -> Result<HashMap<i64, i64>, AppError> {
    let invalid = |err: String| AppError::Invalid(format!("the adjustments: {err}"));
    let upload = axum::body::to_bytes(upload, UPLOAD_LEN_MAX).await;
    let upload = upload.map_err(|err| invalid(err.to_string()))?;
    let list: Vec<Adjustment> = serde_json::from_slice(&upload).map_err(|err| invalid(err.to_string()))?;
    let mut by_line = HashMap::new();
    for Adjustment { line, cents } in list {
        *by_line.entry(line).or_default() += cents;
    }
    Ok(by_line)
}

/// How long the client waits, by its header `X-Deadline-Ms`.
fn deadline(headers: &HeaderMap) -> Result<Duration, AppError> {
    let Some(header) = headers.get("x-deadline-ms") else {
        return Ok(DEADLINE);
    };
    let millis = header.to_str().ok().and_then(|text| text.parse().ok());
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| AppError::Invalid("X-Deadline-Ms: a number of milliseconds".to_owned()))
}
