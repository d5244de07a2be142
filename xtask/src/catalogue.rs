//! The scenarios, as the folders tell them. There is no other list.

use std::path::PathBuf;

use crate::errors::{Error, near};
use crate::manifest::Manifest;
use crate::workbook::Workbook;

/// A scenario and where its rooms are.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The folder's name: `04-slow-query`.
    pub id: String,
    /// The package's name: `slow-query`.
    pub slug: String,
    pub exercise: PathBuf,
    pub solution: PathBuf,
    pub manifest: Manifest,
}

impl Scenario {
    /// `04`, what people type.
    pub fn number(&self) -> &str {
        self.id.split('-').next().unwrap_or(&self.id)
    }

    pub fn hidden_package(&self) -> String {
        format!("{}-hidden", self.slug)
    }

    /// The file of the manifest, for messages.
    pub fn manifest_file(&self) -> PathBuf {
        self.exercise.join("scenario.toml")
    }

    /// The `Cargo.toml` that a submission's is laid over.
    pub fn cargo_manifest(&self) -> PathBuf {
        self.exercise.join("Cargo.toml")
    }

    fn answers_to(&self, name: &str) -> bool {
        let number = self.number();
        name == self.id
            || name == self.slug
            || name == number
            || (!name.is_empty()
                && name.chars().all(|c| c.is_ascii_digit())
                && name == number.trim_start_matches('0'))
    }
}

/// All scenarios, in order.
pub fn read(workbook: &Workbook) -> Result<Vec<Scenario>, Error> {
    let exercises = workbook.root.join("exercises");
    let folders = std::fs::read_dir(&exercises)
        .map_err(|error| Error::slip(&exercises, format!("failed to list it: {error}")))?;
    let mut scenarios = Vec::new();
    for folder in folders
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
    {
        scenarios.push(scenario(workbook, folder)?);
    }
    scenarios.sort_by(|a, b| (a.manifest.order, &a.id).cmp(&(b.manifest.order, &b.id)));
    Ok(scenarios)
}

fn scenario(workbook: &Workbook, exercise: PathBuf) -> Result<Scenario, Error> {
    let id = exercise
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let Some((number, slug)) = id
        .split_once('-')
        .filter(|(number, _)| number.parse::<u32>().is_ok())
    else {
        return Err(Error::slip(
            exercise,
            "a scenario's folder is named NN-slug, as in 04-slow-query",
        ));
    };
    let manifest = Manifest::read(&exercise)?;
    if number.parse() != Ok(manifest.order) {
        let what = format!(
            "key `order`: expected {number} as in the folder's name, found {}",
            manifest.order
        );
        return Err(Error::slip(exercise.join("scenario.toml"), what));
    }
    let solution = workbook.root.join("solutions").join(&id);
    if !solution.is_dir() {
        return Err(Error::slip(solution, "this scenario has no solution"));
    }
    Ok(Scenario {
        slug: slug.to_owned(),
        id: id.clone(),
        exercise,
        solution,
        manifest,
    })
}

/// The scenarios that were asked for, in the catalogue's order; all of them when none was.
pub fn pick(scenarios: Vec<Scenario>, asked: &[String]) -> Result<Vec<Scenario>, Error> {
    for name in asked {
        if !scenarios.iter().any(|scenario| scenario.answers_to(name)) {
            let known = scenarios
                .iter()
                .flat_map(|scenario| [scenario.id.as_str(), scenario.slug.as_str()]);
            let mut near = near(name, known);
            if near.is_empty() {
                near = scenarios.iter().map(|scenario| scenario.id.clone()).collect();
            }
            return Err(Error::UnknownScenario {
                asked: name.clone(),
                near,
            });
        }
    }
    let wanted = |scenario: &Scenario| asked.is_empty() || asked.iter().any(|name| scenario.answers_to(name));
    Ok(scenarios.into_iter().filter(wanted).collect())
}

/// The one scenario that was asked for.
pub fn one(workbook: &Workbook, asked: &str) -> Result<Scenario, Error> {
    let mut picked = pick(read(workbook)?, &[asked.to_owned()])?;
    picked.pop().ok_or_else(|| Error::UnknownScenario {
        asked: asked.to_owned(),
        near: Vec::new(),
    })
}
