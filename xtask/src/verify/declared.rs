//! What each subject is declared to give, and how what it gave differs.

use std::collections::BTreeSet;
use std::fmt;

use verdict::{Verdict, report};

use crate::catalogue::Scenario;
use crate::manifest::{Broken, CheckSpec};
use crate::score::figure;
use crate::variant::Variant;

/// How far the broken code's figure may lie from its record.
const DRIFT_MAX: f64 = 0.10;

/// One difference between what was declared and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slip {
    /// The check or budget it is about, or what else can differ: by this the same slip is known in another run.
    pub about: String,
    pub what: String,
}

impl Slip {
    pub fn new(about: impl Into<String>, what: impl Into<String>) -> Slip {
        Slip {
            about: about.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Slip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

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
    pub fn slips(&self, scenario: &Scenario, report: &report::Scenario) -> Vec<Slip> {
        let mut slips = doubts(report);
        match self {
            Who::Reference => slips.extend(failures(report)),
            Who::Variant(variant) if variant.accepted => {
                let declared = |slip: &Slip| variant.spec.may.contains(&slip.about);
                slips.extend(failures(report).into_iter().filter(|slip| !declared(slip)));
            }
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

/// Neither pass nor fail is never right here.
fn doubts(report: &report::Scenario) -> Vec<Slip> {
    let unsure = |verdict: Verdict| matches!(verdict, Verdict::Inconclusive | Verdict::Environment);
    let checks = report.checks.iter().filter(|check| unsure(check.verdict));
    let of_checks = checks.map(|check| {
        let because = check.because.as_deref().unwrap_or_default();
        let what = format!(
            "{} is {}: {} {because}",
            check.name, check.verdict, check.observed
        );
        Slip::new(&check.name, what.trim_end())
    });
    // A budget is as unsure as its check; only where the check passed does it tell anything of its own.
    let alone = |budget: &&report::Budget| unsure(budget.verdict) && passed(report, &budget.check);
    let of_budgets = report.budgets.iter().filter(alone).map(|budget| {
        let why = budget.evidence.join("; ");
        Slip::new(
            &budget.metric,
            format!("{} is {}: {why}", budget.metric, budget.verdict),
        )
    });
    of_checks.chain(of_budgets).collect()
}

fn failures(report: &report::Scenario) -> Vec<Slip> {
    let checks = report
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Fail)
        .map(|check| {
            let because = check.because.as_deref().unwrap_or_default();
            let evidence = check.evidence.join(" | ");
            Slip::new(
                &check.name,
                format!("{} fails: {} {because} [{evidence}]", check.name, check.observed),
            )
        });
    let budgets = measured_failures(report).map(|budget| {
        let value = budget.value.map_or_else(|| "nothing".to_owned(), figure);
        let limit = budget.limit.map_or_else(|| "unknown".to_owned(), figure);
        Slip::new(
            &budget.metric,
            format!("{} fails: {value} {}, limit {limit}", budget.metric, budget.unit),
        )
    });
    checks.chain(budgets).collect()
}

fn passed(report: &report::Scenario, name: &str) -> bool {
    report
        .checks
        .iter()
        .any(|check| check.name == name && check.verdict == Verdict::Pass)
}

/// Budgets that failed by themselves, not by their check's failure.
fn measured_failures(report: &report::Scenario) -> impl Iterator<Item = &report::Budget> {
    report
        .budgets
        .iter()
        .filter(|budget| budget.verdict == Verdict::Fail && passed(report, &budget.check))
}

fn wrong(variant: &Variant, report: &report::Scenario) -> Vec<Slip> {
    let spec = &variant.spec;
    let failures = failures(report);
    let mut slips = Vec::new();
    // A budget whose check failed was not measured, and earned nothing: that counts as caught.
    let unmeasured = |name: &str| {
        report.budgets.iter().any(|budget| {
            budget.metric == name && budget.verdict == Verdict::Fail && !passed(report, &budget.check)
        })
    };
    let caught = |name: &str| failures.iter().any(|slip| slip.about == name) || unmeasured(name);
    let was_asked = |name: &str| {
        report.checks.iter().any(|check| check.name == name)
            || report.budgets.iter().any(|budget| budget.metric == name)
    };
    for must in spec.must.iter().filter(|name| was_asked(name)) {
        if !caught(must) {
            let what = format!("{must} passes, though this is what catches it");
            slips.push(Slip::new(must, what));
        }
    }
    let known: BTreeSet<&String> = spec.must.iter().chain(&spec.may).collect();
    slips.extend(
        failures
            .iter()
            .filter(|slip| !known.contains(&slip.about))
            .map(|slip| Slip::new(&slip.about, format!("outside `must` and `may`: {}", slip.what))),
    );
    slips.extend(unsaid(variant, report));
    slips
}

/// The diagnosis that nobody gave.
fn unsaid(variant: &Variant, report: &report::Scenario) -> Option<Slip> {
    let diagnosis = variant.spec.diagnosis.as_ref()?;
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
    let said_of_budgets = report
        .budgets
        .iter()
        .flat_map(|budget| budget.because.iter().chain(&budget.evidence));
    if said
        .chain(said_of_budgets)
        .any(|text| text.contains(diagnosis.as_str()))
    {
        return None;
    }
    let of_checks = report.checks.iter().map(|check| &check.because);
    let of_budgets = report.budgets.iter().map(|budget| &budget.because);
    let told: Vec<&str> = of_checks
        .chain(of_budgets)
        .filter_map(|because| because.as_deref())
        .collect();
    let what = format!("nobody says \"{diagnosis}\", but: {}", told.join(" / "));
    Some(Slip::new("the diagnosis", what))
}

fn broken(scenario: &Scenario, report: &report::Scenario) -> Vec<Slip> {
    let mut slips = Vec::new();
    for check in &report.checks {
        let declared = match scenario.manifest.check(&check.name).map(|spec| spec.broken) {
            Some(Broken::Pass) => Verdict::Pass,
            Some(Broken::Fail) => Verdict::Fail,
            _ => continue,
        };
        if check.verdict != declared {
            let what = format!(
                "check {}: declared {declared}, is {}: {}",
                check.name, check.verdict, check.observed
            );
            slips.push(Slip::new(&check.name, what));
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
        let mut slip =
            |what: String| slips.push(Slip::new(&spec.metric, format!("budget {}: {what}", spec.metric)));
        if spec.broken.verdict != budget.verdict {
            slip(format!("declared {}, is {}", spec.broken.verdict, budget.verdict));
        }
        if let Some(what) = drift(spec.broken.value, budget.value, spec.broken.within) {
            slip(what);
        }
    }
    slips
}

fn drift(recorded: Option<f64>, measured: Option<f64>, within: Option<f64>) -> Option<String> {
    let written =
        |value: Option<f64>| value.map_or_else(|| "no value".to_owned(), |value| format!("value = {value}"));
    let apart = match (recorded, measured) {
        (None, None) => false,
        (Some(recorded), Some(measured))
            if within
                .is_some_and(|factor| measured <= recorded * factor && recorded <= measured * factor) =>
        {
            false
        }
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
        assert_eq!(super::drift(recorded, measured, None).is_some(), slip);
    }

    #[test]
    fn where_the_machine_has_a_say_by_a_factor() {
        assert!(super::drift(Some(900.0), Some(310.0), Some(3.0)).is_none());
        assert!(super::drift(Some(900.0), Some(2690.0), Some(3.0)).is_none());
        assert!(super::drift(Some(900.0), Some(290.0), Some(3.0)).is_some());
    }
}
