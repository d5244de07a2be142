//! What was seen, kept in a folder once it is over: the figures as JSON, each chart as a picture of its own, and the
//! dashboard.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::reading::Reading;
use crate::shift::Shift;
use crate::{dashboard, svg};

/// Writes `figures.json`, `dashboard.json` and the charts into `folder`, which is made where there is none.
///
/// # Errors
/// In words, when the folder cannot be written.
pub fn keep(folder: &Path, shift: &Shift, readings: &[Arc<Reading>]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("failed to write into {}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    fs::write(folder.join("figures.json"), figures(shift, readings).to_string()).map_err(failed)?;
    let dashboard = serde_json::to_vec_pretty(&dashboard::dashboard(shift)).unwrap_or_default();
    fs::write(folder.join("dashboard.json"), dashboard).map_err(failed)?;
    for chart in shift.charts() {
        let file = format!("{}.svg", file_name(&chart.title));
        fs::write(folder.join(file), svg::picture(&chart, readings)).map_err(failed)?;
    }
    Ok(())
}

/// Every series over time, under the name that `/metrics` has for it.
fn figures(shift: &Shift, readings: &[Arc<Reading>]) -> serde_json::Value {
    let begun = readings.first().map(|reading| reading.at);
    let after_s: Vec<f64> = readings
        .iter()
        .filter_map(|reading| Some((reading.at - begun?).as_secs_f64()))
        .collect();
    let mut series: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (place, known) in shift.0.series.all().iter().enumerate() {
        let values = readings.iter().filter_map(|reading| reading.values.get(place));
        series.insert(known.selector(), values.copied().collect());
    }
    let mut told = |name: &str, value: fn(&Reading) -> f64| {
        series.insert(
            name.to_owned(),
            readings.iter().map(|reading| value(reading)).collect(),
        );
    };
    told("requests_total", |reading| reading.answered as f64);
    told("requests_total{outcome=\"error\"}", |reading| {
        reading.failed as f64
    });
    told("requests_in_flight", |reading| reading.waiting as f64);
    told("request_duration_seconds{quantile=\"0.99\"}", |reading| {
        reading.window.p99_s
    });
    json!({ "scenario": shift.0.scenario, "seed": shift.seed(), "after_s": after_s, "series": series })
}

/// A title as the name of a file.
fn file_name(title: &str) -> String {
    let words = title.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn titles_are_names_of_files() {
        assert_eq!(
            super::file_name("Latency, from when it was due"),
            "latency-from-when-it-was-due"
        );
    }
}
