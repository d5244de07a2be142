//! `verify --record`: what the broken code gives, written into `scenario.toml` where it stands, and nothing else of the
//! file touched.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use verdict::Verdict;

use super::proving::Asked;
use super::row::Row;
use crate::errors::Error;
use crate::manifest::{Broken, Manifest};
use crate::workbook::Workbook;

/// The places in the manifest that are written to.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    check: Vec<CheckPlace>,
    #[serde(default)]
    budget: Vec<BudgetPlace>,
}

#[derive(Deserialize)]
struct CheckPlace {
    name: String,
    broken: Spanned<Broken>,
}

#[derive(Deserialize)]
struct BudgetPlace {
    metric: String,
    broken: Spanned<BrokenPlace>,
}

#[derive(Deserialize)]
struct BrokenPlace {
    verdict: Spanned<Verdict>,
    value: Option<Spanned<f64>>,
}

/// Records the exercises' rows, and takes from them the slips that this mends. Tells what changed.
pub fn write(workbook: &Workbook, asked: &[Asked], rows: &mut [Row]) -> Result<Vec<String>, Error> {
    let mut told = Vec::new();
    for asked in asked {
        let scenario = &asked.scenario;
        let reference_passes = rows
            .iter()
            .any(|row| row.scenario == scenario.id && row.subject == "reference" && row.is_as_declared());
        let Some(row) = rows
            .iter_mut()
            .find(|row| row.scenario == scenario.id && row.subject == "exercise")
            .filter(|row| reference_passes && !row.verdicts.is_empty())
        else {
            continue;
        };
        let file = scenario.manifest_file();
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Error::slip(&file, format!("failed to read it: {error}")))?;
        let (new, changes) = recorded(&text, row).map_err(|what| Error::slip(&file, what))?;
        if new != text {
            Manifest::parse(&new).map_err(|what| Error::slip(&file, format!("not recorded: {what}")))?;
            std::fs::write(&file, &new)
                .map_err(|error| Error::slip(&file, format!("failed to write it: {error}")))?;
        }
        let short = workbook.short(&file).display().to_string();
        told.extend(changes.iter().map(|change| format!("{short}: {change}")));
        // What remains is what no record can mend: a machine that could not tell.
        let unsure = |verdict: &Verdict| matches!(verdict, Verdict::Inconclusive | Verdict::Environment);
        let doubtful: Vec<String> = row
            .verdicts
            .iter()
            .filter(|(_, verdict)| unsure(verdict))
            .map(|(name, _)| name.clone())
            .collect();
        row.slips
            .retain(|slip| doubtful.iter().any(|name| slip.contains(name.as_str())));
    }
    Ok(told)
}

/// The manifest's text with the row's verdicts and values in it, and what changed.
fn recorded(text: &str, row: &Row) -> Result<(String, Vec<String>), String> {
    let places: Places = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let mut changes = Vec::new();
    let told = |verdict: Verdict| matches!(verdict, Verdict::Pass | Verdict::Fail);
    for check in &places.check {
        let Some(verdict) = row.verdicts.get(&check.name).filter(|verdict| told(**verdict)) else {
            continue;
        };
        let (was, is) = match (check.broken.get_ref(), verdict) {
            (Broken::Pass, Verdict::Fail) => ("pass", "fail"),
            (Broken::Fail, Verdict::Pass) => ("fail", "pass"),
            // `either` is the author's word, which one run cannot refute.
            _ => continue,
        };
        edits.push((check.broken.span(), format!("\"{is}\"")));
        changes.push(format!("check {}: broken was {was}, is {is}", check.name));
    }
    for budget in &places.budget {
        let Some(verdict) = row.verdicts.get(&budget.metric).filter(|verdict| told(**verdict)) else {
            continue;
        };
        let check_is_either = Manifest::parse(text).is_ok_and(|manifest| {
            let spec = manifest.budget.iter().find(|spec| spec.metric == budget.metric);
            let check = spec.and_then(|spec| manifest.check(&spec.check));
            check.is_some_and(|check| check.broken == Broken::Either)
        });
        let value = row.values.get(&budget.metric).map(|value| rounded(*value));
        if check_is_either && value.is_none() {
            continue;
        }
        let was = budget.broken.get_ref();
        let old = (
            *was.verdict.get_ref(),
            was.value.as_ref().map(|value| *value.get_ref()),
        );
        if old == (*verdict, value) {
            continue;
        }
        edits.extend(budget_edits(text, budget, *verdict, value)?);
        changes.push(format!(
            "budget {}: broken was {}, is {}",
            budget.metric,
            words(old.0, old.1),
            words(*verdict, value)
        ));
    }
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut new = text.to_owned();
    for (span, with) in edits {
        new.replace_range(span, &with);
    }
    Ok((new, changes))
}

fn budget_edits(
    text: &str,
    budget: &BudgetPlace,
    verdict: Verdict,
    value: Option<f64>,
) -> Result<Vec<(Range<usize>, String)>, String> {
    let was = budget.broken.get_ref();
    let mut edits = Vec::new();
    match (&was.value, value) {
        (Some(old), Some(new)) => {
            if *was.verdict.get_ref() != verdict {
                edits.push((was.verdict.span(), format!("\"{verdict}\"")));
            }
            if *old.get_ref() != new {
                edits.push((old.span(), new.to_string()));
            }
        }
        (None, None) => edits.push((was.verdict.span(), format!("\"{verdict}\""))),
        (_, new) => {
            let span = budget.broken.span();
            if !text[span.clone()].starts_with('{') {
                return Err(format!(
                    "budget `{}`: write `broken` as `broken = {{ verdict = …, value = … }}`, so that it can be recorded",
                    budget.metric
                ));
            }
            let value = new.map(|new| format!(", value = {new}")).unwrap_or_default();
            edits.push((span, format!("{{ verdict = \"{verdict}\"{value} }}")));
        }
    }
    Ok(edits)
}

fn words(verdict: Verdict, value: Option<f64>) -> String {
    match value {
        Some(value) => format!("{verdict} at {value}"),
        None => format!("{verdict}, not measured"),
    }
}

/// Four digits say more than a tenth of drift can tell; whole counts stay whole.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || (value.fract() == 0.0 && value.abs() < 1e15) {
        return value;
    }
    let scale = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    let rounded = (value * scale).round() / scale;
    if rounded.is_finite() { rounded } else { value }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const MANIFEST: &str = r#"title = "The Counter"   # kept
order = 1
summary = "It stops."
lesson-files = ["src/**"]
minutes = 1

[[check]]
name = "counts"
asks = "Each is counted."
points = 60
broken = "pass"     # until somebody counts

[[budget]]
metric = "held_bytes"
check = "counts"
asks = "Memory does not grow."
limit = { at-most = 1000 }
unit = "bytes"
points = 20
broken = { verdict = "fail",  value = 45_200 } # of a thousand

[[budget]]
metric = "statements"
check = "counts"
asks = "One each."
limit = { at-most = 1 }
unit = "statements"
points = 20
broken = { verdict = "fail" }
"#;

    fn row(verdicts: &[(&str, Verdict)], values: &[(&str, f64)]) -> Row {
        Row {
            verdicts: verdicts
                .iter()
                .map(|(name, v)| ((*name).to_owned(), *v))
                .collect(),
            values: values.iter().map(|(name, v)| ((*name).to_owned(), *v)).collect(),
            ..Row::default()
        }
    }

    #[test]
    fn only_the_records_change() {
        let row = row(
            &[
                ("counts", Verdict::Fail),
                ("held_bytes", Verdict::Pass),
                ("statements", Verdict::Fail),
            ],
            &[("held_bytes", 812.0), ("statements", 12.3456)],
        );
        let (new, changes) = recorded(MANIFEST, &row).unwrap();
        let expected = MANIFEST
            .replace("broken = \"pass\"     #", "broken = \"fail\"     #")
            .replace(
                "{ verdict = \"fail\",  value = 45_200 }",
                "{ verdict = \"pass\",  value = 812 }",
            )
            .replace(
                "broken = { verdict = \"fail\" }",
                "broken = { verdict = \"fail\", value = 12.35 }",
            );
        assert_eq!(new, expected);
        assert_eq!(
            changes,
            [
                "check counts: broken was pass, is fail",
                "budget held_bytes: broken was fail at 45200, is pass at 812",
                "budget statements: broken was fail, not measured, is fail at 12.35",
            ]
        );
    }

    #[test]
    fn what_is_recorded_already_is_left_alone() {
        let row = row(
            &[
                ("counts", Verdict::Pass),
                ("held_bytes", Verdict::Fail),
                ("statements", Verdict::Fail),
            ],
            &[("held_bytes", 45_200.0)],
        );
        assert_eq!(recorded(MANIFEST, &row).unwrap(), (MANIFEST.to_owned(), vec![]));
    }

    #[test]
    fn a_value_that_is_no_longer_measured_goes() {
        let row = row(&[("held_bytes", Verdict::Fail)], &[]);
        let (new, _) = recorded(MANIFEST, &row).unwrap();
        assert!(
            new.contains("broken = { verdict = \"fail\" } # of a thousand"),
            "{new}"
        );
    }

    #[test]
    fn a_machine_that_could_not_tell_is_not_recorded() {
        let row = row(
            &[
                ("counts", Verdict::Inconclusive),
                ("held_bytes", Verdict::Environment),
            ],
            &[],
        );
        assert_eq!(recorded(MANIFEST, &row).unwrap().1, Vec::<String>::new());
    }

    #[rstest]
    #[case(13267.0, 13267.0)]
    #[case(12.3456, 12.35)]
    #[case(0.001_234_56, 0.001_235)]
    #[case(0.0, 0.0)]
    fn figures_keep_four_digits(#[case] value: f64, #[case] expected: f64) {
        assert_eq!(rounded(value), expected);
    }
}
