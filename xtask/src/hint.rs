//! `cargo xtask hint`: the next rung of a ladder per call.

use std::collections::BTreeMap;

use serde::Deserialize;
use verdict::ExitCode;

use crate::catalogue::{self, Scenario};
use crate::errors::{Error, near};
use crate::flags::Hint;
use crate::progress::Progress;
use crate::workbook::Workbook;

/// Hints for one check, from a nudge to nearly the answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    pub rungs: Vec<String>,
}

/// `hidden/hints.toml`.
pub fn read(scenario: &Scenario) -> Result<BTreeMap<String, Ladder>, Error> {
    let file = scenario.exercise.join("hidden/hints.toml");
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Error::slip(&file, format!("failed to read it: {error}")))?;
    toml::from_str(&text).map_err(|error| Error::slip(&file, error.to_string()))
}

pub fn run(workbook: &Workbook, flags: &Hint) -> anyhow::Result<ExitCode> {
    let scenario = catalogue::one(workbook, &flags.scenario)?;
    let ladders = read(&scenario)?;
    let mut progress = Progress::load(workbook);
    let standing = progress.scenarios.entry(scenario.id.clone()).or_default();
    let name = match &flags.check {
        Some(asked) if ladders.contains_key(asked) => asked.clone(),
        Some(asked) => {
            let near = near(asked, ladders.keys().map(String::as_str));
            return Err(Error::UnknownCheck {
                asked: asked.clone(),
                near,
            }
            .into());
        }
        // The first ladder of the manifest that is not climbed to its end.
        None => {
            let seen = |name: &str| standing.hints.get(name).copied().unwrap_or_default();
            let open = |check: &&String| {
                ladders
                    .get(*check)
                    .is_some_and(|ladder| seen(check) < ladder.rungs.len())
            };
            let checks: Vec<&String> = scenario.manifest.check.iter().map(|check| &check.name).collect();
            match checks.iter().copied().find(open).or(checks.first().copied()) {
                Some(check) => check.clone(),
                None => return Err(Error::slip(scenario.manifest_file(), "it declares no check").into()),
            }
        }
    };
    let rungs = &ladders
        .get(&name)
        .ok_or_else(|| {
            Error::slip(
                scenario.exercise.join("hidden/hints.toml"),
                format!("`{name}` has no hints"),
            )
        })?
        .rungs;
    let seen = standing.hints.entry(name.clone()).or_default();
    *seen = (*seen + 1).min(rungs.len());
    let shown = *seen;
    println!("{}  {name}\n", scenario.id);
    for (number, rung) in rungs.iter().take(shown).enumerate() {
        let first = format!("{}. ", number + 1);
        let options = textwrap::Options::new(80)
            .initial_indent(&first)
            .subsequent_indent("   ");
        println!("{}", textwrap::fill(rung, options));
    }
    if shown < rungs.len() {
        println!(
            "\n{} more; next  cargo xtask hint {} {name}",
            rungs.len() - shown,
            scenario.number()
        );
    } else {
        println!(
            "\nthat was the last one; next  cargo xtask debrief {} --anyway",
            scenario.number()
        );
    }
    progress.save(workbook);
    Ok(ExitCode::Passed)
}
