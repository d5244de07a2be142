//! What each subject is declared to give, and how what it gave differs.

use std::collections::BTreeSet;

use verdict::{Verdict, report};

use crate::catalogue::Scenario;
use crate::manifest::{Broken, CheckSpec};
use crate::score::figure;
use crate::variant::Variant;

/// How far the broken code's figure may lie from its record.
const DRIFT_MAX: f64 = 0.10;

#[derive(Clone, Debug)]
pub enum Who {
    Exercise,
    Reference,
    Variant(Variant),
}

impl Who {
    pub fn name(&self) -> &str {
        match self {
            Who::Exercise => "exercise",
            Who::Reference => "reference",
            Who::Variant(variant) => &variant.name,
        }
    }

    pub fn declared(&self) -> &'static str {
        match self {
            Who::Exercise => "broken",
            Who::Reference => "pass",
            Who::Variant(variant) if variant.accepted => "accepted",
            Who::Variant(_) => "rejected",
        }
    }

    /// What is run again by `--repeat`.
    pub fn repeated<'a>(&self, scenario: &'a Scenario) -> Vec<&'a CheckSpec> {
        let all = scenario.manifest.check.iter();
        match self {
            Who::Exercise => Vec::new(),
            Who::Reference => all.collect(),
            Who::Variant(variant) if variant.accepted => all.collect(),
            Who::Variant(variant) => all
                .filter(|check| {
                    let budgets = scenario.manifest.budgets_of(&check.name);
                    variant.spec.must.contains(&check.name)
                        || budgets
                            .into_iter()
                            .any(|budget| variant.spec.must.contains(&budget.metric))
                })
                .collect(),
        }
    }

    /// What is not as declared.
    pub fn slips(&self, scenario: &Scenario, report: &report::Scenario) -> Vec<String> {
        let mut slips = doubts(report);
        match self {
            Who::Reference => slips.extend(failures(report)),
            Who::Variant(variant) if variant.accepted => slips.extend(failures(report)),
            Who::Variant(variant) => slips.extend(wrong(variant, report)),
            Who::Exercise => slips.extend(broken(scenario, report)),
        }
        slips
    }

    /// What is not as declared when it does not compile.
    pub fn build_slips(&self, diagnostics: &str) -> Vec<String> {
        match self {
            Who::Variant(variant) if variant.spec.build => match &variant.spec.diagnosis {
                Some(diagnosis) if !diagnostics.contains(diagnosis.as_str()) => {
                    vec![format!(
                        "the compiler does not say \"{diagnosis}\":\n{}",
                        diagnostics.trim_end()
                    )]
                }
                _ => Vec::new(),
            },
            _ => vec![format!("it does not compile:\n{}", diagnostics.trim_end())],
        }
    }
}

/// The order of rows within a scenario.
pub fn order(declared: &str) -> usize {
    ["in order", "pass", "broken", "accepted", "rejected"]
        .iter()
        .position(|known| *known == declared)
        .unwrap_or(9)
}

/// Neither pass nor fail is never right here.
fn doubts(report: &report::Scenario) -> Vec<String> {
    let unsure = |verdict: Verdict| matches!(verdict, Verdict::Inconclusive | Verdict::Environment);
    report
        .checks
        .iter()
        .filter(|check| unsure(check.verdict))
        .map(|check| format!("{} is {}: {}", check.name, check.verdict, check.observed))
        .collect()
}

fn failures(report: &report::Scenario) -> Vec<String> {
    let checks = report
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Fail)
        .map(|check| {
            let because = check.because.as_deref().unwrap_or_default();
            format!(
                "{} fails: {} {because} [{}]",
                check.name,
                check.observed,
                check.evidence.join(" | ")
            )
        });
    let budgets = measured_failures(report).map(|budget| {
        let value = budget.value.map_or_else(|| "nothing".to_owned(), figure);
        format!(
            "{} fails: {value} {}, limit {}",
            budget.metric,
            budget.unit,
            budget.limit.map_or_else(String::new, figure)
        )
    });
    checks.chain(budgets).collect()
}

/// Budgets that failed by themselves, not by their check's failure.
fn measured_failures(report: &report::Scenario) -> impl Iterator<Item = &report::Budget> {
    let passed = |name: &str| {
        report
            .checks
            .iter()
            .any(|check| check.name == name && check.verdict == Verdict::Pass)
    };
    report
        .budgets
        .iter()
        .filter(move |budget| budget.verdict == Verdict::Fail && passed(&budget.check))
}

fn wrong(variant: &Variant, report: &report::Scenario) -> Vec<String> {
    let spec = &variant.spec;
    let mut slips = Vec::new();
    let judged: BTreeSet<&str> = report.checks.iter().map(|check| check.name.as_str()).collect();
    let failed: BTreeSet<&str> = report
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Fail)
        .map(|check| check.name.as_str())
        .chain(measured_failures(report).map(|budget| budget.metric.as_str()))
        .collect();
    // A budget whose check failed was not measured, and earned nothing: that counts as caught.
    let unmeasured: BTreeSet<&str> = report
        .budgets
        .iter()
        .filter(|budget| budget.verdict == Verdict::Fail && budget.value.is_none())
        .map(|budget| budget.metric.as_str())
        .collect();
    let was_asked =
        |name: &str| judged.contains(name) || report.budgets.iter().any(|budget| budget.metric == name);
    for must in spec.must.iter().filter(|name| was_asked(name)) {
        if !failed.contains(must.as_str()) && !unmeasured.contains(must.as_str()) {
            slips.push(format!("{must} passes, though this is what catches it"));
        }
    }
    for failed in failed
        .iter()
        .filter(|name| !spec.must.iter().chain(&spec.may).any(|known| known == *name))
    {
        let why = failures(report)
            .into_iter()
            .find(|line| line.starts_with(*failed))
            .unwrap_or_default();
        slips.push(format!("outside `must` and `may`: {why}"));
    }
    if let Some(diagnosis) = &spec.diagnosis {
        let said = report
            .checks
            .iter()
            .filter(|check| check.verdict == Verdict::Fail)
            .flat_map(|check| {
                check
                    .because
                    .iter()
                    .chain(std::iter::once(&check.observed))
                    .chain(&check.evidence)
            });
        let said_of_budgets = report.budgets.iter().flat_map(|budget| &budget.evidence);
        if !said
            .chain(said_of_budgets)
            .any(|text| text.contains(diagnosis.as_str()))
        {
            let told: Vec<&str> = report
                .checks
                .iter()
                .filter_map(|check| check.because.as_deref())
                .collect();
            slips.push(format!("nobody says \"{diagnosis}\", but: {}", told.join(" / ")));
        }
    }
    slips
}

fn broken(scenario: &Scenario, report: &report::Scenario) -> Vec<String> {
    let mut slips = Vec::new();
    for check in &report.checks {
        let declared = scenario.manifest.check(&check.name).map(|spec| spec.broken);
        let as_declared = match declared {
            Some(Broken::Pass) => check.verdict == Verdict::Pass,
            Some(Broken::Fail) => check.verdict == Verdict::Fail,
            _ => true,
        };
        if !as_declared {
            slips.push(format!(
                "check {}: declared {declared:?}, is {}: {}",
                check.name, check.verdict, check.observed
            ));
        }
    }
    for budget in &report.budgets {
        let Some(spec) = scenario
            .manifest
            .budget
            .iter()
            .find(|spec| spec.metric == budget.metric)
        else {
            continue;
        };
        let may_be_either = scenario
            .manifest
            .check(&spec.check)
            .is_some_and(|check| check.broken == Broken::Either);
        if may_be_either && budget.value.is_none() {
            continue;
        }
        if spec.broken.verdict != budget.verdict {
            slips.push(format!(
                "budget {}: declared {}, is {}",
                spec.metric, spec.broken.verdict, budget.verdict
            ));
        }
        slips.extend(
            drift(spec.broken.value, budget.value).map(|what| format!("budget {}: {what}", spec.metric)),
        );
    }
    slips
}

fn drift(recorded: Option<f64>, measured: Option<f64>) -> Option<String> {
    let written =
        |value: Option<f64>| value.map_or_else(|| "no value".to_owned(), |value| format!("value = {value}"));
    let apart = match (recorded, measured) {
        (None, None) => false,
        (Some(recorded), Some(measured)) => (recorded - measured).abs() > DRIFT_MAX * recorded.abs().max(1.0),
        _ => true,
    };
    apart.then(|| format!("recorded {}, measured {}", written(recorded), written(measured)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case(Some(100.0), Some(109.0), false)]
    #[case(Some(100.0), Some(111.0), true)]
    #[case(None, Some(1.0), true)]
    #[case(Some(0.0), Some(0.5), true)]
    #[case(None, None, false)]
    fn a_record_may_drift_by_a_tenth(
        #[case] recorded: Option<f64>,
        #[case] measured: Option<f64>,
        #[case] slip: bool,
    ) {
        assert_eq!(super::drift(recorded, measured).is_some(), slip);
    }
}
