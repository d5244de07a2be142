//! What is watched: one number at a time, with the name under which production would show it.

use std::sync::{Arc, PoisonError, RwLock};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up; what is told of it is how fast.
    Counter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    Bytes,
    Seconds,
    /// From 0 to 1.
    Share,
}

impl Unit {
    /// `value`, short enough for an axis.
    pub fn shown(self, value: f64) -> String {
        match self {
            Unit::Count => scaled(value, 1000.0, &["", " k", " M", " G"]),
            Unit::Bytes => scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB"]),
            Unit::Share => format!("{:.*} %", digits(value * 100.0), value * 100.0),
            Unit::Seconds if value == 0.0 => "0 s".to_owned(),
            Unit::Seconds if value.abs() < 1e-3 => format!("{:.0} µs", value * 1e6),
            Unit::Seconds if value.abs() < 1.0 => format!("{:.*} ms", digits(value * 1e3), value * 1e3),
            Unit::Seconds => format!("{:.*} s", digits(value), value),
        }
    }

    /// What Grafana calls it; `rate` for so much a second.
    pub fn grafana(self, rate: bool) -> &'static str {
        match (self, rate) {
            (Unit::Count, false) => "short",
            (Unit::Count, true) => "ops",
            (Unit::Bytes, false) => "bytes",
            (Unit::Bytes, true) => "Bps",
            (Unit::Seconds, false) => "s",
            (Unit::Seconds, true) | (Unit::Share, _) => "percentunit",
        }
    }
}

fn scaled(value: f64, step: f64, suffixes: &[&str]) -> String {
    let (mut value, mut at) = (value, 0);
    while value.abs() >= step && at + 1 < suffixes.len() {
        value /= step;
        at += 1;
    }
    format!("{value:.*}{}", digits(value), suffixes[at])
}

/// Three figures, and none behind the point of a whole number.
fn digits(value: f64) -> usize {
    match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    }
}

pub(crate) struct Series {
    /// Without `_total`, which a counter's name ends with wherever it is shown.
    pub name: String,
    pub help: String,
    pub kind: Kind,
    pub labels: Vec<(String, String)>,
    pub read: Box<dyn Fn() -> f64 + Send + Sync>,
}

impl Series {
    /// As Prometheus selects it: `pool_connections{state="idle"}`.
    pub fn selector(&self) -> String {
        let total = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
        };
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        match labels.is_empty() {
            true => format!("{}{total}", self.name),
            false => format!("{}{total}{{{}}}", self.name, labels.join(",")),
        }
    }
}

/// All series, in the order in which they were added. Series come and never go.
#[derive(Default)]
pub(crate) struct Registry(RwLock<Vec<Arc<Series>>>);

impl Registry {
    /// The new series' place.
    pub fn add(&self, series: Series) -> usize {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::new(series));
        all.len() - 1
    }

    pub fn all(&self) -> Vec<Arc<Series>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Unit::Count, 0.0, "0")]
    #[case(Unit::Count, 1502.0, "1.50 k")]
    #[case(Unit::Count, 0.5, "0.50")]
    #[case(Unit::Bytes, 3.0 * 1024.0 * 1024.0, "3 MiB")]
    #[case(Unit::Seconds, 0.0213, "21.3 ms")]
    #[case(Unit::Seconds, 0.0002, "200 µs")]
    #[case(Unit::Seconds, 61.0, "61 s")]
    #[case(Unit::Share, 0.125, "12.5 %")]
    fn figures_are_short(#[case] unit: Unit, #[case] value: f64, #[case] shown: &str) {
        assert_eq!(unit.shown(value), shown);
    }

    #[test]
    fn a_counter_is_selected_by_its_full_name() {
        let series = Series {
            name: "store_writes".to_owned(),
            help: String::new(),
            kind: Kind::Counter,
            labels: vec![("partition".to_owned(), "3".to_owned())],
            read: Box::new(|| 0.0),
        };
        assert_eq!(series.selector(), "store_writes_total{partition=\"3\"}");
    }
}
