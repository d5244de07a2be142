//! Other people's fixes that the author foresaw, right and wrong: `solutions/NN-slug/variants`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::catalogue::Scenario;
use crate::errors::Error;
use crate::palette;
use crate::submission::Overlay;

/// A fix that lies over the reference.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The folder's name.
    pub name: String,
    pub folder: PathBuf,
    pub accepted: bool,
    pub spec: Spec,
}

/// `variant.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Why it is right, or why people do it.
    #[expect(dead_code, reason = "read by people")]
    pub why: String,
    /// Files of the reference that are not there.
    #[serde(default)]
    pub remove: Vec<PathBuf>,
    /// What fails every time.
    #[serde(default)]
    pub must: Vec<String>,
    /// What may fail as well.
    #[serde(default)]
    pub may: Vec<String>,
    /// Part of what a failure says.
    pub diagnosis: Option<String>,
    /// It does not compile.
    #[serde(default)]
    pub build: bool,
}

/// All variants of a scenario, accepted ones first.
pub fn read(scenario: &Scenario) -> Result<Vec<Variant>, Error> {
    let mut variants = Vec::new();
    for (room, accepted) in [("accepted", true), ("rejected", false)] {
        let mut folders: Vec<PathBuf> = std::fs::read_dir(scenario.solution.join("variants").join(room))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect();
        folders.sort();
        for folder in folders {
            variants.push(variant(scenario, folder, accepted)?);
        }
    }
    Ok(variants)
}

fn variant(scenario: &Scenario, folder: PathBuf, accepted: bool) -> Result<Variant, Error> {
    let file = folder.join("variant.toml");
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Error::slip(&file, format!("failed to read it: {error}")))?;
    let spec: Spec = toml::from_str(&text).map_err(|error| Error::slip(&file, error.to_string()))?;
    let manifest = &scenario.manifest;
    let known =
        |name: &String| manifest.check(name).is_some() || manifest.budget.iter().any(|b| &b.metric == name);
    if let Some(name) = spec.must.iter().chain(&spec.may).find(|name| !known(name)) {
        return Err(Error::slip(
            file,
            format!("no check or budget is called `{name}`"),
        ));
    }
    let decides = |name: &String| {
        let budget = manifest.budget.iter().find(|budget| &budget.metric == name);
        let required = manifest.check(name).map(|check| check.required);
        required.or(budget.map(|budget| budget.required)).unwrap_or(true)
    };
    if accepted && (spec.build || !spec.must.is_empty() || spec.may.iter().any(decides)) {
        let what = "an accepted variant fails nothing; key `may`: only what is not required";
        return Err(Error::slip(file, what));
    }
    if !accepted && spec.must.is_empty() && !spec.build {
        return Err(Error::slip(
            file,
            "key `must`: expected what this wrong fix fails",
        ));
    }
    if let Some(missing) = spec
        .remove
        .iter()
        .find(|name| !scenario.solution.join(name).is_file())
    {
        return Err(Error::slip(
            file,
            format!("key `remove`: the reference has no {}", missing.display()),
        ));
    }
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    Ok(Variant {
        name,
        folder,
        accepted,
        spec,
    })
}

/// The lesson files in `folder`, which is the exercise's or shaped like it.
pub fn lesson_files(scenario: &Scenario, folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, Error> {
    let lesson = scenario
        .manifest
        .lesson_globs()
        .map_err(|what| Error::slip(scenario.manifest_file(), what))?;
    let files = read_all(folder)?.into_iter();
    Ok(files.filter(|(file, _)| lesson.is_match(file)).collect())
}

/// The reference's lesson files with the variant's in their place.
pub fn overlay(root: &Path, scenario: &Scenario, variant: Option<&Variant>) -> Result<Overlay, Error> {
    let lesson = scenario
        .manifest
        .lesson_globs()
        .map_err(|what| Error::slip(scenario.manifest_file(), what))?;
    let mut files = lesson_files(scenario, &scenario.solution)?;
    let Some(variant) = variant else {
        return Ok(Overlay {
            files,
            notes: Vec::new(),
        });
    };
    for removed in &variant.spec.remove {
        files.remove(removed);
    }
    for (file, content) in read_all(&variant.folder)? {
        if file == Path::new("variant.toml") {
            continue;
        }
        if file == Path::new("Cargo.toml") {
            let ours = std::fs::read_to_string(scenario.cargo_manifest()).unwrap_or_default();
            let theirs = String::from_utf8_lossy(&content).into_owned();
            let merged = palette::merge(&ours, &theirs, &palette::read(root)?)
                .map_err(|what| Error::slip(variant.folder.join("Cargo.toml"), what))?;
            files.insert(file, merged.text.into_bytes());
        } else if lesson.is_match(&file) {
            files.insert(file, content);
        } else {
            return Err(Error::slip(variant.folder.join(file), "this is no lesson file"));
        }
    }
    Ok(Overlay {
        files,
        notes: Vec::new(),
    })
}

fn read_all(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
    let failed =
        |path: &Path, error: std::io::Error| Error::slip(path, format!("failed to read it: {error}"));
    let mut files = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(&at)
            .map_err(|error| failed(&at, error))?
            .flatten()
        {
            let path = entry.path();
            if path.ends_with("variants") || path.ends_with("target") {
                continue;
            }
            if path.is_dir() {
                left.push(path);
            } else if let Ok(name) = path.strip_prefix(folder) {
                files.push((
                    name.to_owned(),
                    std::fs::read(&path).map_err(|error| failed(&path, error))?,
                ));
            }
        }
    }
    Ok(files)
}
