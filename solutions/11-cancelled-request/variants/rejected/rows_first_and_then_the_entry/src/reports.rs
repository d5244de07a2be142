//! `POST /reports`.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use http_body_util::LengthLimitError;
use serde::{Deserialize, Serialize};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::app::AppState;
use crate::engine::crunch::{self, Row, St};
use crate::engine::{Probe, prices};
use crate::error::AppError;
use crate::office::Office;

const UPLOAD_LEN_MAX: usize = 1024 * 1024;
const LINES_MAX: i64 = 100_000;
const SECS_MAX: f64 = 600.0;
const STEPS_PER_TURN: usize = 2;

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

/// Where a report is, and what the rest of it needs.
enum Step {
    Arrived(Body),
    Priced(HashMap<i64, i64>),
    Lined(HashMap<i64, i64>, i64),
    Crunching(HashMap<i64, i64>, Mill),
    Stored(Vec<Row>),
    Done(Report),
}

/// A calculation that goes through the hands of threads, a few steps at a time. Wherever it is dropped, it ends.
struct Mill {
    st: St,
    more: bool,
    _tracked: TaskTrackerToken,
}

/// An order that was accepted: sees to its end in the audit, unless that has been entered.
struct Ticket {
    office: Office,
    id: String,
    open: bool,
    _tracked: TaskTrackerToken,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.office.end_later(std::mem::take(&mut self.id), "cancelled");
        }
    }
}

pub async fn create(
    State(st): State<AppState>,
    Query(order): Query<Order>,
    headers: HeaderMap,
    upload: Body,
) -> Result<Json<Report>, AppError> {
    order.validate()?;
    let until = deadline(&headers)?.unwrap_or(Duration::MAX);
    let mut ticket = Ticket {
        office: st.office.clone(),
        id: order.id.clone(),
        open: true,
        _tracked: st.office.busy.token(),
    };
    let made = tokio::select! {
        biased;
        () = st.stop.cancelled() => Err(AppError::Stopping),
        made = tokio::time::timeout(until, generate(&st, &order, upload)) => made.unwrap_or(Err(AppError::Late)),
    };
    match &made {
        Ok(_) => ticket.open = false,
        Err(AppError::Stopping | AppError::Late | AppError::Gone) => {}
        Err(_) => {
            ticket.open = false;
            let entered = st.office.end_later(order.id.clone(), "failed");
            let _ = tokio::time::timeout(Duration::from_secs(3), entered).await;
        }
    }
    made.map(Json)
}

async fn generate(st: &AppState, order: &Order, upload: Body) -> Result<Report, AppError> {
    let mut step = Step::Arrived(upload);
    loop {
        step = match step {
            Step::Arrived(upload) => {
                // Side by side: while its body is being read, the connection is watched.
                // Only a departure is a reason not to enter it.
                let adjustments = async {
                    match adjustments(upload).await {
                        Err(AppError::Gone) => Err(AppError::Gone),
                        read => Ok(read),
                    }
                };
                let (adjustments, ()) = tokio::try_join!(adjustments, st.office.start(&order.id))?;
                Step::Priced(adjustments?)
            }
            Step::Priced(adjustments) => {
                let unit_cents = prices::lookup(&st.cfg.prices_url, &order.market).await?;
                Step::Lined(adjustments, unit_cents)
            }
            Step::Lined(adjustments, unit_cents) => {
                let lines = st.office.lines(order).await?;
                let mill = Mill {
                    st: St::new(&order.id, lines, unit_cents, st.probe.clone()),
                    more: true,
                    _tracked: st.office.busy.token(),
                };
                Step::Crunching(adjustments, mill)
            }
            Step::Crunching(adjustments, mill) if mill.more => {
                let probe = st.probe.clone();
                let turn = tokio::task::spawn_blocking(move || turn(mill, &probe));
                Step::Crunching(adjustments, turn.await?)
            }
            Step::Crunching(adjustments, mill) => {
                let mut rows = mill.st.rows();
                for row in &mut rows {
                    row.cents = sum([row.cents, adjustments.get(&row.line).copied().unwrap_or(0)])?;
                }
                Step::Stored(rows)
            }
            Step::Stored(rows) => {
                let report = Report {
                    id: order.id.clone(),
                    lines: rows.len(),
                    total_cents: sum(rows.iter().map(|row| row.cents))?,
                };
                st.office.finish(&order.id, rows).await?;
                Step::Done(report)
            }
            Step::Done(report) => return Ok(report),
        }
    }
}

fn turn(mut mill: Mill, probe: &Probe) -> Mill {
    for _ in 0..STEPS_PER_TURN {
        mill.more = mill.more && crunch::step(&mut mill.st, probe);
    }
    mill
}

fn sum(cents: impl IntoIterator<Item = i64>) -> Result<i64, AppError> {
    let sum = cents.into_iter().try_fold(0_i64, |sum, cents| sum.checked_add(cents));
    sum.ok_or_else(|| AppError::Failed("an amount is too large".to_owned()))
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
