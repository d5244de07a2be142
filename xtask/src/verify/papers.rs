//! What can be proved by reading: hints, rooms that agree, variants that leave nothing untested.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::catalogue::Scenario;
use crate::errors::Error;
use crate::hint;
use crate::variant::Variant;
use crate::workbook::Workbook;

/// Rungs that every ladder has at least.
const RUNGS_MIN: usize = 3;

pub fn slips(workbook: &Workbook, scenario: &Scenario, variants: &[Variant]) -> Result<Vec<String>, Error> {
    let mut slips = Vec::new();
    slips.extend(hints(scenario)?);
    slips.extend(untested(scenario, variants));
    slips.extend(rooms(workbook, scenario)?);
    if !scenario.solution.join("POSTMORTEM.md").is_file() {
        slips.push(format!(
            "{} is missing",
            workbook.short(&scenario.solution.join("POSTMORTEM.md")).display()
        ));
    }
    Ok(slips)
}

fn hints(scenario: &Scenario) -> Result<Vec<String>, Error> {
    let ladders = hint::read(scenario)?;
    let short = |name: &String| ladders.get(name).map_or(0, |ladder| ladder.rungs.len()) < RUNGS_MIN;
    let checks = scenario.manifest.check.iter().map(|check| &check.name);
    let mut slips: Vec<String> = checks
        .filter(|name| short(name))
        .map(|name| format!("hidden/hints.toml: `{name}` has fewer than {RUNGS_MIN} rungs"))
        .collect();
    let known = |name: &str| scenario.manifest.check(name).is_some();
    slips.extend(
        ladders
            .keys()
            .filter(|name| !known(name))
            .map(|name| format!("hidden/hints.toml: no check is called `{name}`")),
    );
    Ok(slips)
}

/// A check that no wrong fix fails proves nothing.
fn untested(scenario: &Scenario, variants: &[Variant]) -> Vec<String> {
    let caught: BTreeSet<&String> = variants.iter().flat_map(|variant| &variant.spec.must).collect();
    let names = scenario
        .manifest
        .check
        .iter()
        .map(|c| &c.name)
        .chain(scenario.manifest.budget.iter().map(|b| &b.metric));
    names
        .filter(|name| !caught.contains(name))
        .map(|name| format!("`{name}` stands in no variant's `must`"))
        .collect()
}

/// What is no lesson is the same on both sides.
fn rooms(workbook: &Workbook, scenario: &Scenario) -> Result<Vec<String>, Error> {
    let lesson = scenario
        .manifest
        .lesson_globs()
        .map_err(|what| Error::slip(scenario.manifest_file(), what))?;
    let (exercise, solution) = (provided(&scenario.exercise), provided(&scenario.solution));
    let mut slips = Vec::new();
    for file in exercise.keys().chain(solution.keys()).collect::<BTreeSet<_>>() {
        if !lesson.is_match(file) && exercise.get(file) != solution.get(file) {
            slips.push(format!(
                "{} differs from the solution's and is no lesson file",
                workbook.short(&scenario.exercise.join(file)).display()
            ));
        }
    }
    if dependencies(&scenario.exercise)? != dependencies(&scenario.solution)? {
        slips.push("the [dependencies] of exercise and solution differ".to_owned());
    }
    Ok(slips)
}

fn provided(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut left = vec![folder.join("src"), folder.join("migrations")];
    while let Some(at) = left.pop() {
        for path in std::fs::read_dir(at)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
        {
            if path.is_dir() {
                left.push(path);
            } else if let (Ok(name), Ok(content)) = (path.strip_prefix(folder), std::fs::read(&path)) {
                files.insert(name.to_owned(), content);
            }
        }
    }
    files
}

fn dependencies(folder: &Path) -> Result<Option<Value>, Error> {
    let file = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Error::slip(&file, format!("failed to read it: {error}")))?;
    let table: Table = text
        .parse()
        .map_err(|error| Error::slip(&file, format!("{error}")))?;
    Ok(table.get("dependencies").cloned())
}
