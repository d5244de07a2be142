//! `POST /reports`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio_util::time::FutureExt;

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
    let deadline = deadline(&headers)?;
    store::record(&st.db, &order.id, "started").await?;
    let job = tokio::spawn(generate(st.clone(), order.clone(), upload));
    let made = match job.timeout(deadline).await {
        Ok(made) => made.map_err(AppError::from).flatten(),
        Err(_) => Err(AppError::Late),
    };
    let end = if made.is_ok() { "done" } else { "failed" };
    store::record(&st.db, &order.id, end).await?;
    made.map(Json)
}

async fn generate(st: AppState, order: Order, upload: Body) -> Result<Report, AppError> {
    let unit_cents = prices::lookup(&st.cfg.prices_url, &order.market).await?;
    let lines = store::slow_rows(&st.db, &order).await?;
    let adjustments = adjustments(upload).await?;
    let (id, probe) = (order.id.clone(), st.probe.clone());
    let rows =
        tokio::task::spawn_blocking(move || crunch_all(&id, lines, unit_cents, adjustments, probe)).await?;
    store::insert(&st.db, &order.id, &rows).await?;
    Ok(Report {
        id: order.id,
        lines: rows.len(),
        total_cents: rows.iter().map(|row| row.cents).sum(),
    })
}

fn crunch_all(
    id: &str,
    lines: Vec<Line>,
    unit_cents: i64,
    adjustments: HashMap<i64, i64>,
    probe: Arc<Probe>,
) -> Vec<Row> {
    let mut st = St::new(id, lines, unit_cents, probe.clone());
    while crunch::step(&mut st, &probe) {}
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
