//! What is drawn: the page's charts, the terminal's figures and Grafana's panels are all made from this one list.

use crate::reading::Reading;
use crate::series::Unit;
use crate::shift::Shift;
use crate::{heap, process};

/// The time over which Prometheus takes a rate.
pub const WINDOW: &str = "30s";

#[derive(Clone)]
pub struct Chart {
    pub title: String,
    pub unit: Unit,
    /// Of this scenario, and not of all.
    pub own: bool,
    pub lines: Vec<Line>,
}

#[derive(Clone)]
pub struct Line {
    pub label: String,
    pub promql: String,
    pub source: Source,
}

impl Line {
    /// As short as it can be told apart from those of other charts: the series' name without its labels.
    pub fn name(&self) -> &str {
        let selector = self.promql.strip_prefix("rate(").unwrap_or(&self.promql);
        let end = selector.find(['{', '[', '(']).unwrap_or(selector.len());
        &selector[..end]
    }
}

/// Where a line's value is in a reading.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    Value(usize),
    /// So much a second since the reading before.
    Rate(usize),
    Answers,
    Failures,
    Waiting,
    P50,
    P99,
}

impl Source {
    pub fn is_rate(self) -> bool {
        matches!(self, Source::Rate(_) | Source::Answers | Source::Failures)
    }

    /// `None` where there is nothing to tell.
    pub fn value(self, before: &Reading, now: &Reading) -> Option<f64> {
        let seconds = (now.at - before.at).as_secs_f64();
        let rate = |one: f64, other: f64| (seconds > 0.0).then(|| (other - one).max(0.0) / seconds);
        match self {
            Source::Value(place) => now.values.get(place).copied(),
            Source::Rate(place) => rate(*before.values.get(place)?, *now.values.get(place)?),
            Source::Answers => rate(before.answered as f64, now.answered as f64),
            Source::Failures => rate(before.failed as f64, now.failed as f64),
            Source::Waiting => Some(now.waiting as f64),
            Source::P50 => (now.window.answered > 0).then_some(now.window.p50_s),
            Source::P99 => (now.window.answered > 0).then_some(now.window.p99_s),
        }
    }
}

/// The charts that every incident has.
pub fn standard(shift: &Shift) {
    let quantile = |q: &str| {
        format!("histogram_quantile({q}, sum by (le) (rate(request_duration_seconds_bucket[{WINDOW}])))")
    };
    let line = |label: &str, promql: String, source| Line {
        label: label.to_owned(),
        promql,
        source,
    };
    let requests = Chart {
        title: "Requests per second".to_owned(),
        unit: Unit::Count,
        own: false,
        lines: vec![
            line(
                "answered",
                format!("sum(rate(requests_total[{WINDOW}]))"),
                Source::Answers,
            ),
            line(
                "failed",
                format!("sum(rate(requests_total{{outcome=\"error\"}}[{WINDOW}])) or vector(0)"),
                Source::Failures,
            ),
        ],
    };
    let latency = Chart {
        title: "Latency, from when a request was due".to_owned(),
        unit: Unit::Seconds,
        own: false,
        lines: vec![
            line("p50", quantile("0.5"), Source::P50),
            line("p99", quantile("0.99"), Source::P99),
        ],
    };
    if let Ok(mut charts) = shift.0.charts.lock() {
        charts.extend([requests, latency]);
    }
    runtime(shift);
    memory(shift);
    system(shift);
}

/// For traffic that tells when a request is due, and not only how it was answered.
pub fn waiting(shift: &Shift) {
    let waiting = Chart {
        title: "Requests without an answer yet".to_owned(),
        unit: Unit::Count,
        own: true,
        lines: vec![Line {
            label: "waiting".to_owned(),
            promql: "requests_in_flight".to_owned(),
            source: Source::Waiting,
        }],
    };
    if let Ok(mut charts) = shift.0.charts.lock() {
        charts.push(waiting);
    }
}

/// For a service that is started again whenever it is killed.
pub fn restarts(shift: &Shift, restarts: u32) {
    shift
        .chart("Restarts of the container", Unit::Count)
        .of_every_scenario()
        .gauge(
            "container_restarts",
            &[],
            "How often the container was started again",
            move || restarts.into(),
        )
        .show();
}

fn runtime(shift: &Shift) {
    let metrics = shift.0.service.metrics();
    let (alive, queue, busy, workers) = (metrics.clone(), metrics.clone(), metrics.clone(), metrics);
    let chart = shift
        .chart("Tasks of the runtime", Unit::Count)
        .of_every_scenario();
    chart
        .gauge(
            "tokio_alive_tasks",
            &[],
            "Tasks that were spawned and have not ended",
            move || alive.num_alive_tasks() as f64,
        )
        .gauge(
            "tokio_global_queue_depth",
            &[],
            "Tasks that wait in the runtime's global queue for a worker",
            move || queue.global_queue_depth() as f64,
        )
        .show();
    let chart = shift
        .chart("Processor, seconds per second", Unit::Seconds)
        .of_every_scenario();
    chart
        .counter(
            "process_cpu_seconds",
            &[],
            "Time on the processor, user and system",
            process::cpu_s,
        )
        .show();
    let chart = shift
        .chart("Workers of the runtime, busy seconds per second", Unit::Seconds)
        .of_every_scenario();
    chart
        .counter(
            "tokio_worker_busy_seconds",
            &[],
            "Time for which workers of the runtime were not parked",
            move || {
                (0..workers.num_workers())
                    .map(|worker| busy.worker_total_busy_duration(worker).as_secs_f64())
                    .sum()
            },
        )
        .show();
}

fn memory(shift: &Shift) {
    let chart = shift.chart("Memory", Unit::Bytes).of_every_scenario();
    chart
        .gauge(
            "heap_live_bytes",
            &[],
            "Bytes asked of the allocator and not given back",
            || heap::totals().live_bytes as f64,
        )
        .gauge(
            "process_resident_memory_bytes",
            &[],
            "Resident memory, what watches included",
            process::resident_bytes,
        )
        .show();
    let chart = shift
        .chart("Allocations per second", Unit::Count)
        .of_every_scenario();
    chart
        .counter(
            "heap_allocations",
            &[],
            "Requests for memory, reallocations included",
            || heap::totals().allocations as f64,
        )
        .show();
}

fn system(shift: &Shift) {
    let chart = shift
        .chart("Threads and descriptors", Unit::Count)
        .of_every_scenario();
    chart
        .gauge("process_threads", &[], "Threads of the process", process::threads)
        .gauge(
            "process_open_fds",
            &[],
            "Open file descriptors",
            process::open_fds,
        )
        .show();
}
