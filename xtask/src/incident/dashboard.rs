//! One dashboard for Grafana with the charts of every scenario that was watched: a row for each.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::catalogue::Scenario;

/// How high a row's title is, as Grafana counts.
const ROW_H: u64 = 1;

/// Puts together what each scenario's program has left in `folder(scenario)/dashboard.json`. One that did not get so far
/// has no row.
///
/// # Errors
/// One of these files is none of ours, or `into` cannot be written.
pub fn write(scenarios: &[Scenario], folder: impl Fn(&Scenario) -> PathBuf, into: &Path) -> io::Result<()> {
    let mut all = Vec::new();
    for scenario in scenarios {
        if let Ok(text) = std::fs::read(folder(scenario).join("dashboard.json")) {
            all.push(serde_json::from_slice(&text)?);
        }
    }
    let text = serde_json::to_vec_pretty(&joined(all))?;
    std::fs::write(into, text)
}

fn joined(all: Vec<Value>) -> Value {
    let mut whole = all.first().cloned().unwrap_or_default();
    let (mut panels, mut y) = (Vec::new(), 0);
    for dashboard in all {
        panels.push(json!({
            "id": panels.len() + 1,
            "type": "row",
            "title": dashboard["title"],
            "collapsed": false,
            "gridPos": { "h": ROW_H, "w": 24, "x": 0, "y": y },
            "panels": [],
        }));
        y += ROW_H;
        let own = dashboard["panels"].as_array().cloned().unwrap_or_default();
        let place = |panel: &Value, name: &str| panel["gridPos"][name].as_u64().unwrap_or_default();
        let bottoms = own.iter().map(|panel| place(panel, "y") + place(panel, "h"));
        let height = bottoms.max().unwrap_or_default();
        for mut panel in own {
            panel["id"] = json!(panels.len() + 1);
            panel["gridPos"]["y"] = json!(y + place(&panel, "y"));
            panels.push(panel);
        }
        y += height;
    }
    whole["title"] = json!("War Stories");
    whole["uid"] = json!("war-stories");
    whole["panels"] = json!(panels);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(title: &str, panels: u64) -> Value {
        let panels: Vec<Value> = (0..panels)
            .map(|place| json!({ "id": place + 1, "gridPos": { "h": 8, "w": 12, "x": 0, "y": place * 8 } }))
            .collect();
        json!({ "title": title, "uid": title, "refresh": "5s", "panels": panels })
    }

    #[test]
    fn every_scenario_has_a_row_and_its_panels_below_it() {
        let whole = joined(vec![of("one", 2), of("two", 1)]);
        assert_eq!(
            (&whole["uid"], &whole["refresh"]),
            (&json!("war-stories"), &json!("5s"))
        );
        let panels = whole["panels"].as_array().unwrap();
        let ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5]);
        let ys: Vec<_> = panels
            .iter()
            .map(|panel| panel["gridPos"]["y"].as_u64().unwrap())
            .collect();
        assert_eq!(ys, [0, 1, 9, 17, 18]);
    }
}
