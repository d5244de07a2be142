//! Everything in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::calls::{BUCKETS_S, Totals};
use crate::reading::History;
use crate::series::{Kind, Series};
use crate::shift::Shift;

/// What goes with [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The last reading, and the calls of now.
///
/// # Errors
/// The writer's, of which there are none.
pub fn text(shift: &Shift, history: &History) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collected {
        series: shift.0.series.all(),
        values: history
            .all()
            .last()
            .map(|reading| reading.values.clone())
            .unwrap_or_default(),
        totals: shift.0.calls.totals(),
        begun_s: shift.0.begun_s,
    }));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

struct Collected {
    series: Vec<Arc<Series>>,
    values: Vec<f64>,
    totals: Totals,
    begun_s: f64,
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").finish_non_exhaustive()
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.calls(&mut encoder)?;
        let begun = ConstGauge::new(self.begun_s);
        let about = "When the process began, in seconds since 1970";
        begun.encode(encoder.encode_descriptor(
            "process_start_time_seconds",
            about,
            None,
            begun.metric_type(),
        )?)?;
        // Series of one name stand together, whenever they were added.
        let mut names: BTreeMap<&str, Vec<(&Series, f64)>> = BTreeMap::new();
        for (series, value) in self.series.iter().zip(&self.values) {
            names.entry(&series.name).or_default().push((series, *value));
        }
        for (name, all) in names {
            let Some((first, _)) = all.first() else { continue };
            let kind = match first.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
            };
            let mut family = encoder.encode_descriptor(name, &first.help, None, kind)?;
            for (series, value) in all {
                let metric = family.encode_family(&series.labels)?;
                match series.kind {
                    Kind::Gauge => ConstGauge::new(value).encode(metric)?,
                    Kind::Counter => ConstCounter::new(value).encode(metric)?,
                }
            }
        }
        Ok(())
    }
}

impl Collected {
    fn calls(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let about = "Requests that were answered, or failed";
        let mut family = encoder.encode_descriptor("requests", about, None, MetricType::Counter)?;
        for (kind, counts) in &self.totals.kinds {
            for (outcome, count) in [("ok", counts.ok), ("error", counts.failed)] {
                let labels = vec![("request", *kind), ("outcome", outcome)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let waiting = ConstGauge::new(self.totals.waiting);
        let about = "Requests that are due and have no answer yet";
        waiting.encode(encoder.encode_descriptor(
            "requests_in_flight",
            about,
            None,
            waiting.metric_type(),
        )?)?;
        // What is beyond all edges is in the count alone.
        let buckets: Vec<(f64, u64)> = BUCKETS_S.into_iter().zip(self.totals.buckets).collect();
        let about = "From when a request was due to its answer, in seconds";
        let mut histogram =
            encoder.encode_descriptor("request_duration_seconds", about, None, MetricType::Histogram)?;
        histogram.encode_histogram::<Vec<(String, String)>>(
            self.totals.seconds,
            self.totals.answered(),
            &buckets,
            None,
        )
    }
}
