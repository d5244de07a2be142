//! What can be proved by reading: hints, rooms that agree, variants that leave nothing untested.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::catalogue::Scenario;
use crate::errors::Error;
use crate::hint;
use crate::readme;
use crate::variant::Variant;
use crate::workbook::Workbook;

/// Rungs that every ladder has at least.
const RUNGS_MIN: usize = 3;

/// What concerns one scenario.
pub fn slips(workbook: &Workbook, scenario: &Scenario, variants: &[Variant]) -> Result<Vec<String>, Error> {
    let mut slips = hints(workbook, scenario)?;
    slips.extend(untested(workbook, scenario, variants));
    slips.extend(unspoken(workbook, variants));
    slips.extend(rooms(workbook, scenario)?);
    let postmortem = scenario.solution.join("POSTMORTEM.md");
    if !postmortem.is_file() {
        slips.push(format!("{} is missing", workbook.short(&postmortem).display()));
    }
    Ok(slips)
}

/// What concerns all scenarios together.
pub fn of_workbook(workbook: &Workbook, all: &[Scenario]) -> Vec<String> {
    let readme = std::fs::read_to_string(workbook.root.join("README.md")).unwrap_or_default();
    let lines: Vec<readme::Line> = all
        .iter()
        .map(|scenario| readme::Line {
            id: scenario.id.clone(),
            title: scenario.manifest.title.clone(),
            summary: scenario.manifest.summary.clone(),
            services: scenario.manifest.services.clone(),
            minutes: scenario.manifest.minutes,
        })
        .collect();
    let stale = readme::with_table(&readme, &lines).is_some_and(|fresh| fresh != readme);
    let told =
        "README.md: its table of scenarios is stale; cargo test --package xtask --test readme writes it";
    stale.then(|| told.to_owned()).into_iter().collect()
}

fn hints(workbook: &Workbook, scenario: &Scenario) -> Result<Vec<String>, Error> {
    let file = scenario.exercise.join("hidden/hints.toml");
    let file = workbook.short(&file).display();
    let ladders = hint::read(scenario)?;
    let short = |name: &String| ladders.get(name).map_or(0, |ladder| ladder.rungs.len()) < RUNGS_MIN;
    let checks = scenario.manifest.check.iter().map(|check| &check.name);
    let mut slips: Vec<String> = checks
        .filter(|name| short(name))
        .map(|name| format!("{file}: `{name}` has fewer than {RUNGS_MIN} rungs"))
        .collect();
    let known = |name: &str| scenario.manifest.check(name).is_some();
    slips.extend(
        ladders
            .keys()
            .filter(|name| !known(name))
            .map(|name| format!("{file}: no check is called `{name}`")),
    );
    Ok(slips)
}

/// A check or budget that no wrong fix fails proves nothing.
fn untested(workbook: &Workbook, scenario: &Scenario, variants: &[Variant]) -> Vec<String> {
    let folder = scenario.solution.join("variants/rejected");
    let caught: BTreeSet<&String> = variants.iter().flat_map(|variant| &variant.spec.must).collect();
    let checks = scenario.manifest.check.iter().map(|check| &check.name);
    let budgets = scenario.manifest.budget.iter().map(|budget| &budget.metric);
    checks
        .chain(budgets)
        .filter(|name| !caught.contains(name))
        .map(|name| {
            format!(
                "{}: `{name}` stands in no variant's `must`",
                workbook.short(&folder).display()
            )
        })
        .collect()
}

/// A wrong fix is told which belief is wrong, in words that its author declares.
fn unspoken(workbook: &Workbook, variants: &[Variant]) -> Vec<String> {
    variants
        .iter()
        .filter(|variant| !variant.accepted && variant.spec.diagnosis.is_none())
        .map(|variant| {
            format!(
                "{}: key `diagnosis`: expected part of what the grader says to this wrong fix",
                workbook.short(&variant.folder.join("variant.toml")).display()
            )
        })
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
        slips.push(format!(
            "{}: its [dependencies] differ from those in {}",
            workbook.short(&scenario.exercise.join("Cargo.toml")).display(),
            workbook.short(&scenario.solution.join("Cargo.toml")).display()
        ));
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
