//! The object that `cargo xtask grade --format json` prints: one per run, on standard output, nothing beside it.
//!
//! Absent facts are `null`, never missing keys, so that a reader can rely on every key. Seconds are wall time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Verdict;

/// The version of this object. Keys may be added within a version; a changed or removed key raises it.
pub const SCHEMA: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The worst of the scenarios' verdicts.
    pub verdict: Verdict,
    /// Replays this run: `--seed`.
    pub seed: u64,
    /// Who was graded: `exercise`, `reference`, or the folder given by `--submission`.
    pub subject: String,
    /// The servers that were used, and why these.
    pub services: Vec<Service>,
    pub scenarios: Vec<Scenario>,
    /// Where the time went: `catalogue`, `services`, `build`, `checks`, `total`.
    pub seconds: BTreeMap<String, f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// `postgres`, `redis` …
    pub name: String,
    /// `container`, `local`, `fetched` or `running`.
    pub how: String,
    pub version: String,
    /// The choice and its reason, as the terminal shows it.
    pub reason: String,
    pub seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// The folder's name: `04-slow-query`.
    pub id: String,
    pub title: String,
    pub verdict: Verdict,
    /// 0 to 100. Rounded down, so that 100 means all of it.
    pub score: u32,
    pub build: Build,
    pub checks: Vec<Check>,
    pub budgets: Vec<Budget>,
    /// What concerns the whole scenario: the compiler's words, files that were ignored, a server that is missing.
    pub notes: Vec<String>,
    /// `build`, `checks`, `first_verdict` (from the command's start).
    pub seconds: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Build {
    Ok,
    Failed,
    /// Not tried, because something else was missing.
    Skipped,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub verdict: Verdict,
    pub points: f64,
    pub points_max: f64,
    pub required: bool,
    /// The promise, as the manifest asks for it.
    pub claim: String,
    /// What was seen instead; empty for a pass.
    pub observed: String,
    /// The misconception, or the reason why nobody can tell.
    pub because: Option<String>,
    pub evidence: Vec<String>,
    /// Nothing happened any more, and its process was ended from outside.
    pub stuck: bool,
    /// What to type to see it again.
    pub replay: String,
    pub seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    pub metric: String,
    /// The check that records it.
    pub check: String,
    pub verdict: Verdict,
    pub points: f64,
    pub points_max: f64,
    pub required: bool,
    pub claim: String,
    /// In `unit`; null when it was not measured.
    pub value: Option<f64>,
    /// The reference's figure in this run.
    pub reference: Option<f64>,
    /// In `unit`; null when it depends on a reference that was not measured.
    pub limit: Option<f64>,
    pub unit: String,
    /// How it was measured, where there is more than one way; else null.
    pub method: Option<String>,
    /// The misconception behind a figure over the limit, where the check can tell.
    pub because: Option<String>,
    /// Why there is no figure, what was seen, or where the memory came from.
    pub evidence: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_what_the_readme_promises() {
        let report = Report {
            schema: SCHEMA,
            verdict: Verdict::Fail,
            seed: 81723,
            subject: "exercise".into(),
            services: vec![Service {
                name: "postgres".into(),
                how: "local".into(),
                version: "15.18".into(),
                reason: "local: /usr/lib/postgresql/15/bin (no container daemon answers)".into(),
                seconds: 0.25,
            }],
            scenarios: vec![Scenario {
                id: "09-double-charge".into(),
                title: "The Double Charge".into(),
                verdict: Verdict::Fail,
                score: 15,
                build: Build::Ok,
                checks: vec![Check {
                    name: "retries_charge_once".into(),
                    verdict: Verdict::Fail,
                    points: 0.0,
                    points_max: 15.0,
                    required: true,
                    claim: "a client that never saw the answer may retry, and is charged once".into(),
                    observed: "2 charges for one key".into(),
                    because: Some("the key is recorded after the payment".into()),
                    evidence: vec!["charge 1 at frame 7".into()],
                    stuck: false,
                    replay: "cargo xtask grade 09 --check retries_charge_once --seed 81723".into(),
                    seconds: 1.5,
                }],
                budgets: vec![Budget {
                    metric: "statements_per_replay".into(),
                    check: "retries_charge_once".into(),
                    verdict: Verdict::Fail,
                    points: 0.0,
                    points_max: 5.0,
                    required: true,
                    claim: "a replay costs two statements".into(),
                    value: None,
                    reference: Some(1.0),
                    limit: Some(2.0),
                    unit: "statements".into(),
                    method: None,
                    because: None,
                    evidence: vec!["not measured: its check failed".into()],
                }],
                notes: vec![],
                seconds: BTreeMap::from([("checks".into(), 1.5)]),
            }],
            seconds: BTreeMap::from([("total".into(), 2.5)]),
        };
        insta::assert_json_snapshot!(report);
    }
}
