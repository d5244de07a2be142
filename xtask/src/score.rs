//! From what was found and measured to points and verdicts. No clocks, no files.

use verdict::{Verdict, report};

use crate::manifest::{BudgetSpec, CheckSpec};

/// The figures of one metric.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    pub value: Option<f64>,
    pub reference: Option<f64>,
}

/// Judges a budget. `check` is the verdict of the check that records it.
pub fn budget(spec: &BudgetSpec, check: Verdict, figures: Figures) -> report::Budget {
    let limit = spec.limit.value(figures.reference);
    let points_max = f64::from(spec.points);
    let mut evidence = Vec::new();
    let (verdict, points) = match (check, figures.value, limit) {
        (Verdict::Fail, ..) => {
            evidence.push("not measured: its check failed".to_owned());
            (Verdict::Fail, 0.0)
        }
        (Verdict::Inconclusive | Verdict::Environment, ..) => {
            evidence.push("not measured: its check could not be judged".to_owned());
            (check, 0.0)
        }
        (Verdict::Pass, None, _) => {
            evidence.push("not measured: the check did not record it".to_owned());
            (Verdict::Fail, 0.0)
        }
        (Verdict::Pass, Some(_), None) => {
            evidence.push("not judged: the reference was not measured on this machine".to_owned());
            (Verdict::Environment, 0.0)
        }
        (Verdict::Pass, Some(value), Some(limit)) if value <= limit => (Verdict::Pass, points_max),
        (Verdict::Pass, Some(value), Some(limit)) => {
            (Verdict::Fail, points_max * share(spec.broken.value, value, limit))
        }
    };
    report::Budget {
        metric: spec.metric.clone(),
        check: spec.check.clone(),
        verdict,
        points,
        points_max,
        required: spec.required,
        claim: spec.asks.clone(),
        value: figures.value.filter(|_| check == Verdict::Pass),
        reference: figures.reference,
        limit,
        unit: spec.unit.clone(),
        method: None,
        because: None,
        evidence,
    }
}

/// How much of the way from the broken code's figure to the limit was gone, on a logarithmic scale: halving a figure
/// is worth as much far from the limit as near to it.
fn share(broken: Option<f64>, value: f64, limit: f64) -> f64 {
    match broken {
        Some(broken) if limit > 0.0 && value > 0.0 && broken > limit => {
            ((broken / value).ln() / (broken / limit).ln()).clamp(0.0, 1.0)
        }
        _ => 0.0,
    }
}

/// Points of a check: all or nothing.
pub fn check_points(spec: &CheckSpec, verdict: Verdict) -> f64 {
    if verdict == Verdict::Pass {
        f64::from(spec.points)
    } else {
        0.0
    }
}

/// The scenario's verdict and score from what was judged.
pub fn scenario(checks: &[report::Check], budgets: &[report::Budget]) -> (Verdict, u32) {
    let deciding = checks
        .iter()
        .filter(|check| check.required)
        .map(|check| check.verdict)
        .chain(
            budgets
                .iter()
                .filter(|budget| budget.required)
                .map(|budget| budget.verdict),
        );
    let verdict = Verdict::all(deciding);
    let points: f64 = checks
        .iter()
        .map(|c| c.points)
        .chain(budgets.iter().map(|b| b.points))
        .sum();
    // A sum of shares may miss a whole number by the last bit.
    (verdict, (points + 1e-9).floor() as u32)
}

/// A figure as a person writes it.
pub fn figure(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        let digits = format!("{value:.0}");
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                grouped.push(' ');
            }
            grouped.push(digit);
        }
        grouped
    } else if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::manifest::{BrokenBudget, Limit};

    fn spec(limit: Limit, broken: Option<f64>) -> BudgetSpec {
        BudgetSpec {
            metric: "blocks".into(),
            check: "found".into(),
            asks: "few blocks".into(),
            limit,
            unit: "blocks".into(),
            points: 20,
            broken: BrokenBudget {
                verdict: Verdict::Fail,
                value: broken,
                within: None,
            },
            required: true,
        }
    }

    #[rstest]
    #[case::within(
        Limit::AtMost(100.0),
        Some(10_000.0),
        Verdict::Pass,
        Some(100.0),
        Verdict::Pass,
        20.0
    )]
    #[case::as_broken(
        Limit::AtMost(100.0),
        Some(10_000.0),
        Verdict::Pass,
        Some(10_000.0),
        Verdict::Fail,
        0.0
    )]
    #[case::half_way(
        Limit::AtMost(100.0),
        Some(10_000.0),
        Verdict::Pass,
        Some(1_000.0),
        Verdict::Fail,
        10.0
    )]
    #[case::worse_than_broken(
        Limit::AtMost(100.0),
        Some(10_000.0),
        Verdict::Pass,
        Some(1e6),
        Verdict::Fail,
        0.0
    )]
    #[case::nothing_allowed(Limit::AtMost(0.0), Some(500.0), Verdict::Pass, Some(1.0), Verdict::Fail, 0.0)]
    #[case::no_record_of_broken(Limit::AtMost(100.0), None, Verdict::Pass, Some(101.0), Verdict::Fail, 0.0)]
    #[case::a_stub_earns_nothing(
        Limit::AtMost(100.0),
        Some(1e4),
        Verdict::Fail,
        Some(0.0),
        Verdict::Fail,
        0.0
    )]
    #[case::not_recorded(Limit::AtMost(100.0), Some(1e4), Verdict::Pass, None, Verdict::Fail, 0.0)]
    #[case::by_the_reference(
        Limit::TimesReference(3.0),
        Some(1e4),
        Verdict::Pass,
        Some(150.0),
        Verdict::Pass,
        20.0
    )]
    #[case::a_broken_machine(
        Limit::AtMost(1.0),
        None,
        Verdict::Environment,
        None,
        Verdict::Environment,
        0.0
    )]
    fn budgets(
        #[case] limit: Limit,
        #[case] broken: Option<f64>,
        #[case] check: Verdict,
        #[case] value: Option<f64>,
        #[case] verdict: Verdict,
        #[case] points: f64,
    ) {
        let judged = budget(
            &spec(limit, broken),
            check,
            Figures {
                value,
                reference: Some(50.0),
            },
        );
        assert_eq!((judged.verdict, judged.points.round()), (verdict, points));
    }

    #[test]
    fn without_a_reference_its_multiple_is_no_limit() {
        let figures = Figures {
            value: Some(1.0),
            reference: None,
        };
        let judged = budget(&spec(Limit::TimesReference(2.0), None), Verdict::Pass, figures);
        assert_eq!(judged.verdict, Verdict::Environment);
    }

    #[rstest]
    #[case(13267.0, "13 267")]
    #[case(1.5, "1.50")]
    #[case(0.0, "0")]
    #[case(1048576.25, "1048576")]
    fn figures(#[case] value: f64, #[case] written: &str) {
        assert_eq!(figure(value), written);
    }
}
