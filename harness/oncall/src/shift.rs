//! What the traffic of an incident is given, and what it tells of the service.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use harness::Check;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::calls::Calls;
use crate::chart::{Chart, Line, Source};
use crate::series::{Kind, Registry, Series, Unit};
use crate::view::View;

/// An incident under way: the traffic's side of it. Cheap to clone.
#[derive(Clone)]
pub struct Shift(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub check: Arc<Check>,
    pub lasts: Duration,
    pub begun: Instant,
    pub begun_s: f64,
    pub scenario: String,
    pub title: String,
    pub page: Vec<String>,
    pub reference: bool,
    /// How often the service was started again, and what the last end was, where it runs in a container.
    pub restarts: u32,
    pub ended: Option<String>,
    pub calls: Calls,
    pub series: Registry,
    pub charts: Mutex<Vec<Chart>>,
    pub views: Mutex<Vec<View>>,
    /// The traffic's time is over, whatever the service still does.
    pub over: Notify,
    /// The runtime that the service lives in.
    pub service: Handle,
    /// The runtime that looks at it.
    pub oncall: Handle,
}

impl Shift {
    pub fn seed(&self) -> u64 {
        self.0.check.seed()
    }

    /// What gives servers and databases, as a check has them.
    pub fn check(&self) -> &Arc<Check> {
        &self.0.check
    }

    /// How long the traffic lasts.
    pub fn lasts(&self) -> Duration {
        self.0.lasts
    }

    /// Where the traffic tells how each call went.
    pub fn calls(&self) -> Calls {
        self.0.calls.clone()
    }

    /// Begins a chart of the scenario's own.
    pub fn chart(&self, title: &str, unit: Unit) -> Charted<'_> {
        Charted {
            shift: self,
            chart: Chart {
                title: title.to_owned(),
                unit,
                own: true,
                lines: Vec::new(),
            },
        }
    }

    /// Adds a view to the page's tools.
    pub fn view(&self, view: View) {
        let mut views = self.0.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.push(view);
    }

    /// The runtime that looks at the service; what runs there goes on while the service hangs.
    pub fn oncall(&self) -> &Handle {
        &self.0.oncall
    }

    pub(crate) fn charts(&self) -> Vec<Chart> {
        self.0
            .charts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn views(&self) -> Vec<View> {
        self.0
            .views
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A chart that is being put together; it is shown once it is dropped.
#[must_use = "a chart without lines shows nothing"]
pub struct Charted<'a> {
    shift: &'a Shift,
    chart: Chart,
}

impl Charted<'_> {
    /// A line that goes up and down. `read` is called twice a second, on a thread that may wait.
    pub fn gauge(
        self,
        name: &str,
        labels: &[(&str, &str)],
        help: &str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.line(Kind::Gauge, name, labels, help, Box::new(read))
    }

    /// A line that tells how fast a count grows. `name` without `_total`.
    pub fn counter(
        self,
        name: &str,
        labels: &[(&str, &str)],
        help: &str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.line(Kind::Counter, name, labels, help, Box::new(read))
    }

    /// A line that somebody else sets.
    pub fn dial(mut self, kind: Kind, name: &str, labels: &[(&str, &str)], help: &str) -> (Self, Dial) {
        let dial = Dial::default();
        let shown = dial.clone();
        self = self.line(kind, name, labels, help, Box::new(move || shown.get()));
        (self, dial)
    }

    fn line(
        mut self,
        kind: Kind,
        name: &str,
        labels: &[(&str, &str)],
        help: &str,
        read: Box<dyn Fn() -> f64 + Send + Sync>,
    ) -> Self {
        let series = Series {
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            read,
        };
        let label = match labels {
            [] => name.to_owned(),
            some => some.iter().map(|(_, value)| *value).collect::<Vec<_>>().join(" "),
        };
        let selector = series.selector();
        let place = self.shift.0.series.add(series);
        self.chart.lines.push(match kind {
            Kind::Gauge => Line {
                label,
                promql: selector,
                source: Source::Value(place),
            },
            Kind::Counter => Line {
                label,
                promql: format!("rate({selector}[{}])", crate::chart::WINDOW),
                source: Source::Rate(place),
            },
        });
        self
    }

    pub(crate) fn of_every_scenario(mut self) -> Self {
        self.chart.own = false;
        self
    }

    /// Puts the chart on the page.
    pub fn show(self) {
        let mut charts = self.shift.0.charts.lock().unwrap_or_else(PoisonError::into_inner);
        charts.push(self.chart);
    }
}

/// A figure that is set from outside, as by whoever asks a server once a second.
#[derive(Clone, Default)]
pub struct Dial(Arc<AtomicU64>);

impl Dial {
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}
