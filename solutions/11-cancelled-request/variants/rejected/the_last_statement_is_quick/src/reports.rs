//! `POST /reports`.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use http_body_util::LengthLimitError;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::app::AppState;
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
    let deadline = deadline(&headers)?;
    let late = async {
        match deadline {
            Some(deadline) => tokio::time::sleep(deadline).await,
            None => std::future::pending().await,
        }
    };
    let tracked = st.jobs.token();
    if st.stop.is_cancelled() {
        return Err(AppError::Stopping);
    }
    let gone = CancellationToken::new();
    let job = tokio::spawn(job(st.clone(), order, upload, gone.clone(), tracked));
    // Whatever ends this future, the job does not outlive it by much.
    let _gone = gone.drop_guard();
    tokio::select! {
        biased;
        made = job => made.map_err(AppError::from).flatten().map(Json),
        () = late => Err(AppError::Late),
        () = st.stop.cancelled() => Err(AppError::Stopping),
    }
}

/// Makes a report and sees to it that the audit has its end. Never dropped half-way: it is told by `gone`.
async fn job(
    st: AppState,
    order: Order,
    upload: Body,
    gone: CancellationToken,
    tracked: TaskTrackerToken,
) -> Result<Report, AppError> {
    let made = match st.store.start(&order.id, &gone).await {
        Ok(()) => generate(&st, &order, upload, &gone).await,
        // Whether it has been entered may not be known.
        Err(AppError::Busy) => return Err(AppError::Busy),
        Err(err) => Err(err),
    };
    if let Err(err) = &made {
        let given_up = gone.is_cancelled() || matches!(err, AppError::Gone);
        let event = if given_up { "cancelled" } else { "failed" };
        if st.store.end(&order.id, event).await.is_err() {
            tokio::spawn(keep_trying(st, order.id, event, tracked));
        }
    }
    made
}

/// Until the database is back.
async fn keep_trying(st: AppState, id: String, event: &'static str, _tracked: TaskTrackerToken) {
    let mut last = 2;
    while last > 0 && st.store.end(&id, event).await.is_err() {
        if st.stop.is_cancelled() {
            last -= 1;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn generate(
    st: &AppState,
    order: &Order,
    upload: Body,
    gone: &CancellationToken,
) -> Result<Report, AppError> {
    // Upload and warehouse side by side: while the body is being read, its connection is watched. Whichever fails
    // gives up the other, in an orderly way.
    let quit = gone.child_token();
    let (lines, adjustments) = tokio::join!(
        async {
            let lines = lines(st, order, &quit).await;
            lines.inspect_err(|_| quit.cancel())
        },
        async {
            let adjustments = unless(&quit, adjustments(upload)).await.flatten();
            adjustments.inspect_err(|_| quit.cancel())
        }
    );
    let ((unit_cents, lines), adjustments) = match (lines, adjustments) {
        (Ok(lines), Ok(adjustments)) => (lines, adjustments),
        (Err(AppError::Gone), Err(err)) | (Err(err), _) | (Ok(_), Err(err)) => return Err(err),
    };
    let (id, probe, until) = (order.id.clone(), st.probe.clone(), quit.clone());
    let rows = tokio::task::spawn_blocking(move || {
        crunch_all(&id, lines, unit_cents, adjustments, probe, &until)
    });
    let rows = rows.await?.ok_or(AppError::Gone)?;
    let total_cents = rows.iter().try_fold(0_i64, |sum, row| sum.checked_add(row.cents));
    let total_cents = total_cents.ok_or_else(|| AppError::Failed("the total is too large".to_owned()))?;
    st.store.finish(&order.id, &rows, &quit).await?;
    Ok(Report {
        id: order.id.clone(),
        lines: rows.len(),
        total_cents,
    })
}

async fn lines(
    st: &AppState,
    order: &Order,
    quit: &CancellationToken,
) -> Result<(i64, Vec<Line>), AppError> {
    let unit_cents = unless(quit, prices::lookup(&st.cfg.prices_url, &order.market)).await??;
    let lines = st.store.lines(order, quit).await?;
    Ok((unit_cents, lines))
}

async fn unless<T>(quit: &CancellationToken, work: impl Future<Output = T>) -> Result<T, AppError> {
    tokio::select! {
        biased;
        () = quit.cancelled() => Err(AppError::Gone),
        done = work => Ok(done),
    }
}

fn crunch_all(
    id: &str,
    lines: Vec<Line>,
    unit_cents: i64,
    adjustments: HashMap<i64, i64>,
    probe: Arc<Probe>,
    quit: &CancellationToken,
) -> Option<Vec<Row>> {
    let mut st = St::new(id, lines, unit_cents, probe.clone());
    loop {
        if quit.is_cancelled() {
            return None;
        }
        if !crunch::step(&mut st, &probe) {
            break;
        }
    }
    let mut rows = st.rows();
    for row in &mut rows {
        row.cents += adjustments.get(&row.line).copied().unwrap_or(0);
    }
    Some(rows)
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
