//! `POST /reports`.

use std::collections::HashMap;
use std::error::Error;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use http_body_util::LengthLimitError;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::app::AppState;
use crate::case::Case;
use crate::engine::crunch::{self, Line, Row, St};
use crate::engine::{Probe, prices};
use crate::error::AppError;

const UPLOAD_LEN_MAX: usize = 1024 * 1024;
const LINES_MAX: i64 = 100_000;
const SECS_MAX: f64 = 600.0;

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
    let late = deadline(&headers)?.map(tokio::time::sleep);
    let late = async {
        match late {
            Some(late) => late.await,
            None => pending().await,
        }
    };
    let mut case = Case::new(&order.id, &st.undertaker);
    let mut stop = st.stop.subscribe();
    // Giving up is dropping: this future by the server, or `generate` by this one.
    let made = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => Err(AppError::Stopping),
        () = late => Err(AppError::Late),
        made = generate(&st, &order, upload, &mut case) => made,
    };
    match made {
        Ok(report) => {
            case.is_done();
            Ok(Json(report))
        }
        Err(err @ (AppError::Stopping | AppError::Late | AppError::Gone)) => Err(err),
        Err(err) => {
            case.fail().await;
            Err(err)
        }
    }
}

async fn generate(
    st: &AppState,
    order: &Order,
    upload: Body,
    case: &mut Case,
) -> Result<Report, AppError> {
    // First of all: only a connection whose body has been read is watched.
    let adjustments = adjustments(upload).await?;
    case.start(&st.db).await?;
    let unit_cents = prices::lookup(&st.cfg.prices_url, &order.market).await?;
    let lines = case.lines(&st.db, order).await?;
    let (reply, rows) = oneshot::channel();
    let (id, probe, tracked) = (order.id.clone(), st.probe.clone(), st.undertaker.tracker().token());
    tokio::task::spawn_blocking(move || {
        let _tracked = tracked;
        crunch_all(&id, lines, unit_cents, &adjustments, probe, reply);
    });
    let rows = rows.await;
    let rows = rows.map_err(|_| AppError::Failed("the calculation broke down".to_owned()))?;
    let total_cents = rows.iter().try_fold(0_i64, |sum, row| sum.checked_add(row.cents));
    let total_cents = total_cents.ok_or_else(|| AppError::Failed("the total is too large".to_owned()))?;
    case.finish(&st.db, &rows).await?;
    Ok(Report {
        id: order.id.clone(),
        lines: rows.len(),
        total_cents,
    })
}

/// Calculates for as long as somebody waits at the other end of `reply`.
fn crunch_all(
    id: &str,
    lines: Vec<Line>,
    unit_cents: i64,
    adjustments: &HashMap<i64, i64>,
    probe: Arc<Probe>,
    reply: oneshot::Sender<Vec<Row>>,
) {
    let mut st = St::new(id, lines, unit_cents, probe.clone());
    loop {
        if reply.is_closed() {
            return;
        }
        if !crunch::step(&mut st, &probe) {
            break;
        }
    }
    let mut rows = st.rows();
    for row in &mut rows {
        row.cents += adjustments.get(&row.line).copied().unwrap_or(0);
    }
    let _ = reply.send(rows);
}

async fn adjustments(upload: Body) -> Result<HashMap<i64, i64>, AppError> {
    let invalid = |err: String| AppError::Invalid(format!("the adjustments: {err}"));
    let upload = axum::body::to_bytes(upload, UPLOAD_LEN_MAX).await;
    let upload = upload.map_err(|err| match is_departure(&err) {
        true => AppError::Gone,
        false => invalid(err.to_string()),
    })?;
    let list: Vec<Adjustment> = serde_json::from_slice(&upload).map_err(|err| invalid(err.to_string()))?;
    let mut by_line = HashMap::<i64, i64>::new();
    for Adjustment { line, cents } in list {
        let sum = by_line.entry(line).or_default();
        *sum = sum
            .checked_add(cents)
            .ok_or_else(|| AppError::Failed("an adjustment is too large".to_owned()))?;
    }
    Ok(by_line)
}

/// Whether the body broke off, and not because of what is in it.
fn is_departure(err: &axum::Error) -> bool {
    let mut next = err.source();
    while let Some(err) = next {
        if err.is::<LengthLimitError>() {
            return false;
        }
        if let Some(err) = err.downcast_ref::<io::Error>() {
            return !matches!(err.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData);
        }
        next = err.source();
    }
    true
}

/// How long the client waits, if it says so, by its header `X-Deadline-Ms`.
fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, AppError> {
    let Some(header) = headers.get("x-deadline-ms") else {
        return Ok(None);
    };
    let millis = header.to_str().ok().and_then(|text| text.parse().ok());
    millis
        .map(|millis| Some(Duration::from_millis(millis)))
        .ok_or_else(|| AppError::Invalid("X-Deadline-Ms: a number of milliseconds".to_owned()))
}
