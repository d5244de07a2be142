//! Whether each incident shows what its manifest says: the symptoms on the exercise, and none on the reference.
//!
//! Two services at a time, since most of them wait. One that does not show what was declared is watched once more, alone
//! and for twice as long, before anybody is told: a busy machine is slow, and no slip.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream;
use serde::Deserialize;
use verdict::ExitCode;

use super::{Watching, build, dashboard, has_traffic, usage, watch};
use crate::catalogue::{self, Scenario};
use crate::compile::Side;
use crate::flags::{Format, Incident};
use crate::fleet::Fleet;
use crate::manifest::{Bound, Figure, IncidentSpec, SymptomSpec};
use crate::terminal::Screen;
use crate::workbook::Workbook;

/// Services that are watched at a time.
const AT_ONCE: usize = 2;

pub async fn run(workbook: &Workbook, flags: &Incident) -> anyhow::Result<ExitCode> {
    let scenarios = catalogue::pick(catalogue::read(workbook)?, &flags.scenarios)?;
    let scenarios: Vec<Scenario> = scenarios.into_iter().filter(has_traffic).collect();
    if scenarios.is_empty() {
        return Err(usage(
            "none of these scenarios has traffic to be watched".to_owned(),
            "cargo xtask incident --prove".to_owned(),
        ));
    }
    let screen = Screen::new(Format::Text);
    let say = |line: &str| screen.doing(line);
    let fleet = Fleet::start(workbook, &scenarios, flags.services, &say).await?;
    for service in &fleet.told {
        screen.service(service);
    }
    let mut slips = 0;
    for side in [Side::Exercise, Side::Reference] {
        match prove(workbook, &scenarios, side, &fleet, flags, &screen).await {
            Ok(more) => slips += more,
            Err(error) => {
                screen.quiet();
                fleet.stop().await;
                return Err(error);
            }
        }
    }
    screen.quiet();
    fleet.stop().await;
    if let Some(keep) = &flags.keep {
        let folder = |scenario: &Scenario| kept(keep, scenario, Side::Exercise);
        let file = keep.join("dashboard.json");
        dashboard::write(&scenarios, folder, &file)
            .with_context(|| format!("failed to put the dashboards together in {}", file.display()))?;
    }
    screen.line(&format!("{} scenarios, {slips} slips", scenarios.len()));
    Ok(if slips == 0 {
        ExitCode::Passed
    } else {
        ExitCode::Failed
    })
}

/// Watches one side of every scenario; the number of slips.
async fn prove(
    workbook: &Workbook,
    scenarios: &[Scenario],
    side: Side,
    fleet: &Fleet,
    flags: &Incident,
    screen: &Screen,
) -> anyhow::Result<usize> {
    let begun = Instant::now();
    let programs = build(workbook, scenarios, side, screen).await?;
    screen.line(&format!(
        "{}, built in {:.0} s",
        name(side),
        begun.elapsed().as_secs_f64()
    ));
    let rows = stream::iter(scenarios).map(|scenario| {
        let program = programs.get(&scenario.id);
        async move {
            match program {
                Some(Ok(program)) => {
                    let row = Row {
                        scenario,
                        side,
                        fleet,
                        flags,
                        program,
                    };
                    (row.judged(1).await, Some(row))
                }
                Some(Err(diagnostics)) => (Err(format!("does not compile\n{diagnostics}")), None),
                None => (Err("was not built".to_owned()), None),
            }
        }
    });
    let mut rows = std::pin::pin!(rows.buffered(AT_ONCE));
    let (mut slips, mut again) = (0, Vec::new());
    while let Some((judged, row)) = rows.next().await {
        match (judged, row) {
            (Ok(words), Some(row)) => screen.line(&told('✓', row.scenario, &words)),
            (Err(words), Some(row)) => {
                screen.line(&told('?', row.scenario, &words));
                again.push(row);
            }
            (Ok(words) | Err(words), None) => {
                slips += 1;
                screen.line(&format!("✗ {words}"));
            }
        }
    }
    for row in again {
        match row.judged(2).await {
            Ok(words) => screen.line(&told('✓', row.scenario, &words)),
            Err(words) => {
                slips += 1;
                screen.line(&told('✗', row.scenario, &words));
            }
        }
    }
    Ok(slips)
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Exercise => "exercise",
        Side::Reference => "reference",
    }
}

/// Where a program leaves what was seen.
fn kept(keep: &Path, scenario: &Scenario, side: Side) -> PathBuf {
    keep.join(&scenario.id).join(name(side))
}

fn told(mark: char, scenario: &Scenario, words: &str) -> String {
    format!("  {mark} {}  {words}", scenario.id)
}

/// One side of one scenario.
struct Row<'a> {
    scenario: &'a Scenario,
    side: Side,
    fleet: &'a Fleet,
    flags: &'a Incident,
    program: &'a Path,
}

/// What the program keeps of what was seen.
#[derive(Deserialize)]
struct Figures {
    series: HashMap<String, Vec<f64>>,
}

impl Row<'_> {
    /// Watches it for `times` as long as its manifest says, and compares; the figures in words.
    async fn judged(&self, times: u32) -> Result<String, String> {
        let Some(spec) = &self.scenario.manifest.incident else {
            return Err("its manifest declares no [incident]".to_owned());
        };
        let lasts = self
            .flags
            .lasts
            .unwrap_or(Duration::from_secs(spec.plain_after_s));
        let figures = self.watched(lasts * times).await?;
        self.compared(spec, &figures)
    }

    async fn watched(&self, lasts: Duration) -> Result<Figures, String> {
        let failed = |error: &dyn std::fmt::Display| format!("failed to watch it: {error}");
        let passing = tempfile::tempdir().map_err(|error| failed(&error))?;
        let folder = match &self.flags.keep {
            Some(folder) => kept(folder, self.scenario, self.side),
            None => passing.path().to_owned(),
        };
        let watching = Watching {
            lasts,
            seed: self.flags.seed,
            port: 0,
            keep: Some(&folder),
            told: false,
            watched: true,
        };
        let status = watch(self.fleet, self.scenario, self.program, &watching).await;
        let status = status.map_err(|error| failed(&error))?;
        if !status.success() {
            return Err(format!("the program ended with {status}"));
        }
        let text = std::fs::read(folder.join("figures.json")).map_err(|error| failed(&error))?;
        serde_json::from_slice(&text).map_err(|error| failed(&error))
    }

    fn compared(&self, spec: &IncidentSpec, figures: &Figures) -> Result<String, String> {
        let (mut words, mut slipped) = (Vec::new(), false);
        for symptom in &spec.symptom {
            let bound = match self.side {
                Side::Exercise => symptom.exercise,
                Side::Reference => symptom.reference,
            };
            let Some(value) = figures
                .series
                .get(&symptom.series)
                .and_then(|values| taken(symptom, values))
            else {
                slipped = true;
                words.push(format!("{} was not seen", symptom.series));
                continue;
            };
            let (holds, limit) = match bound {
                Bound::AtLeast(limit) => (value >= limit, format!("at least {limit}")),
                Bound::AtMost(limit) => (value <= limit, format!("at most {limit}")),
            };
            slipped |= !holds;
            words.push(format!("{} {} ({limit})", symptom.series, shown(value)));
        }
        let words = words.join(", ");
        if slipped { Err(words) } else { Ok(words) }
    }
}

fn taken(symptom: &SymptomSpec, values: &[f64]) -> Option<f64> {
    let (first, last) = (values.first()?, values.last()?);
    Some(match symptom.figure {
        Figure::Last => *last,
        Figure::Peak => values.iter().copied().fold(f64::MIN, f64::max),
        Figure::Rise => last - first,
    })
}

fn shown(value: f64) -> String {
    match value.fract() == 0.0 {
        true => value.to_string(),
        false => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_taken_of_a_series() {
        let symptom = |figure| SymptomSpec {
            series: "pool_waiting".to_owned(),
            figure,
            exercise: Bound::AtLeast(1.0),
            reference: Bound::AtMost(0.0),
        };
        let values = [2.0, 9.0, 5.0];
        assert_eq!(taken(&symptom(Figure::Last), &values), Some(5.0));
        assert_eq!(taken(&symptom(Figure::Peak), &values), Some(9.0));
        assert_eq!(taken(&symptom(Figure::Rise), &values), Some(3.0));
        assert_eq!(taken(&symptom(Figure::Last), &[]), None);
    }
}
