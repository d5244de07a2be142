use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use verdict::{Verdict, report};

/// One line of the table: a subject, and how what it gave differs from what it declares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub scenario: String,
    /// `papers`, `exercise`, `reference`, or a variant's name.
    pub subject: String,
    /// `in order`, `broken`, `pass`, `accepted`, `rejected`.
    pub declared: String,
    pub score: u32,
    /// Wall time of its build, its programs' copying included.
    pub build_seconds: f64,
    /// From the first check's start to the last one's end, over all repetitions.
    pub run_seconds: f64,
    /// How often it was run.
    pub runs: u32,
    /// Judged by an earlier part of this run, which was interrupted.
    pub earlier: bool,
    /// What is not as declared; empty when all is.
    pub slips: Vec<String>,
    /// Each check's and budget's verdict in the first run.
    pub verdicts: BTreeMap<String, Verdict>,
    /// Each budget's value in the first run, where it was measured.
    pub values: BTreeMap<String, f64>,
    /// Each check's wall time in the first run.
    pub check_seconds: BTreeMap<String, f64>,
}

impl Row {
    pub fn new(scenario: &str, subject: &str, declared: &str) -> Row {
        Row {
            scenario: scenario.to_owned(),
            subject: subject.to_owned(),
            declared: declared.to_owned(),
            ..Row::default()
        }
    }

    /// A row of which nothing but its slips is known.
    pub fn of_slips(scenario: &str, subject: &str, declared: &str, slips: Vec<String>) -> Row {
        Row {
            slips,
            ..Row::new(scenario, subject, declared)
        }
    }

    /// Takes over what the first run found.
    pub fn hear(&mut self, report: &report::Scenario) {
        self.score = report.score;
        let checks = report.checks.iter().map(|check| (&check.name, check.verdict));
        let budgets = report
            .budgets
            .iter()
            .map(|budget| (&budget.metric, budget.verdict));
        self.verdicts = checks
            .chain(budgets)
            .map(|(name, verdict)| (name.clone(), verdict))
            .collect();
        self.values = report
            .budgets
            .iter()
            .filter_map(|budget| Some((budget.metric.clone(), budget.value?)))
            .collect();
        self.check_seconds = report
            .checks
            .iter()
            .map(|check| (check.name.clone(), check.seconds))
            .collect();
    }

    pub fn is_as_declared(&self) -> bool {
        self.slips.is_empty()
    }
}

/// The order of rows within a scenario.
pub fn order(row: &Row) -> usize {
    ["in order", "pass", "broken", "accepted", "rejected"]
        .iter()
        .position(|known| *known == row.declared)
        .unwrap_or(9)
}
