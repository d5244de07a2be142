//! A dashboard for Grafana, of the same charts as the page.

use serde_json::{Value, json};

use crate::chart::Chart;
use crate::shift::Shift;

/// The dashboard, to be imported; it asks for the Prometheus that scrapes `/metrics`.
pub fn dashboard(shift: &Shift) -> Value {
    let charts = shift.charts();
    let panels: Vec<Value> = charts.iter().enumerate().map(panel).collect();
    json!({
        "title": format!("War Stories: {}", shift.0.title),
        "uid": format!("war-stories-{}", shift.0.scenario),
        "tags": ["war-stories"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "5s",
        "time": { "from": "now-5m", "to": "now" },
        "templating": { "list": [{
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
        }] },
        "panels": panels,
    })
}

fn panel((place, chart): (usize, &Chart)) -> Value {
    let rate = chart.lines.iter().any(|line| line.source.is_rate());
    let targets: Vec<Value> = chart
        .lines
        .iter()
        .enumerate()
        .map(|(place, line)| {
            json!({
                "refId": char::from(b'A' + place as u8 % 26).to_string(),
                "expr": line.promql,
                "legendFormat": line.label,
                "datasource": { "type": "prometheus", "uid": "${datasource}" },
            })
        })
        .collect();
    json!({
        "id": place + 1,
        "type": "timeseries",
        "title": chart.title,
        "datasource": { "type": "prometheus", "uid": "${datasource}" },
        "gridPos": { "h": 8, "w": 12, "x": place % 2 * 12, "y": place / 2 * 8 },
        "fieldConfig": { "defaults": { "unit": chart.unit.grafana(rate), "min": 0 }, "overrides": [] },
        "targets": targets,
    })
}
