//! Somebody else's files, taken as a set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::catalogue::Scenario;
use crate::errors::Error;
use crate::globs::Globs;
use crate::palette;

/// The largest file that is taken, in bytes.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Ignored files that are told.
const IGNORED_TOLD: usize = 8;

/// What is laid into an exercise's folder.
#[derive(Debug, Default)]
pub struct Overlay {
    /// Path in the exercise's folder → content. All lesson files, and `Cargo.toml`.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// What was not taken, for the report.
    pub notes: Vec<String>,
}

/// Takes the lesson files of `folder`, which is shaped like the exercise's.
///
/// # Errors
/// Outer: the folder cannot be read. Inner: a sentence that says why the submission is refused.
pub fn take(root: &Path, scenario: &Scenario, folder: &Path) -> Result<Result<Overlay, String>, Error> {
    let next = format!(
        "cargo xtask grade {} --submission DIR, with DIR shaped like exercises/{}",
        scenario.number(),
        scenario.id
    );
    if !folder.is_dir() {
        let what = format!("the submission {} is not a folder", folder.display());
        return Err(Error::Submission { what, next });
    }
    let (files, links) = walk(folder);
    if files.is_empty() {
        let what = format!("the submission {} is empty", folder.display());
        return Err(Error::Submission { what, next });
    }
    let palette = palette::read(root)?;
    Ok(sift(&palette, scenario, folder, files, links))
}

fn sift(
    palette: &BTreeSet<String>,
    scenario: &Scenario,
    folder: &Path,
    files: Vec<PathBuf>,
    links: Vec<PathBuf>,
) -> Result<Overlay, String> {
    let lesson = scenario.manifest.lesson_globs()?;
    if files
        .iter()
        .chain(&links)
        .any(|file| file == Path::new("build.rs"))
    {
        return Err("the submission adds build.rs; a fix needs no build script".to_owned());
    }
    if let Some(link) = links
        .iter()
        .find(|link| lesson.is_match(link) || is_parent_of_lesson(link))
    {
        return Err(format!(
            "{} is a symbolic link; a submission consists of files",
            link.display()
        ));
    }
    let mut overlay = Overlay::default();
    let mut ignored = Vec::new();
    for file in files {
        let path = folder.join(&file);
        if lesson.is_match(&file) {
            let size = std::fs::metadata(&path).map_or(0, |meta| meta.len());
            if size > FILE_BYTES_MAX {
                return Err(format!(
                    "{} has {size} bytes; at most {FILE_BYTES_MAX} are taken",
                    file.display()
                ));
            }
            let content = std::fs::read(&path)
                .map_err(|error| format!("failed to read {}: {error}", path.display()))?;
            overlay.files.insert(file, content);
        } else if file == Path::new("Cargo.toml") {
            let theirs = std::fs::read_to_string(&path)
                .map_err(|error| format!("failed to read Cargo.toml: {error}"))?;
            let ours = std::fs::read_to_string(scenario.cargo_manifest())
                .map_err(|error| format!("failed to read the exercise's Cargo.toml: {error}"))?;
            let merged = palette::merge(&ours, &theirs, palette)?;
            overlay.notes.extend(
                merged
                    .ignored
                    .iter()
                    .map(|table| format!("ignored in Cargo.toml: {table}")),
            );
            overlay.files.insert(file, merged.text.into_bytes());
        } else if differs(&path, &scenario.exercise.join(&file)) {
            ignored.push(file.display().to_string());
        }
    }
    if let Some(missing) = first_missing(scenario, &lesson, &overlay) {
        return Err(format!("the submission lacks {missing}"));
    }
    if !ignored.is_empty() {
        let more = ignored.len().saturating_sub(IGNORED_TOLD);
        ignored.truncate(IGNORED_TOLD);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        overlay.notes.push(format!(
            "not lesson files, so not taken: {}{more}",
            ignored.join(", ")
        ));
    }
    Ok(overlay)
}

/// `src` itself as a link would bring files in from elsewhere.
fn is_parent_of_lesson(link: &Path) -> bool {
    link.components().count() == 1 && ["src", "migrations"].iter().any(|name| link == Path::new(name))
}

/// The one lesson file that no fix can do without.
fn first_missing(scenario: &Scenario, lesson: &Globs, overlay: &Overlay) -> Option<&'static str> {
    let root = Path::new("src/lib.rs");
    let needed =
        lesson.is_match(root) && scenario.exercise.join(root).is_file() && !overlay.files.contains_key(root);
    needed.then_some("src/lib.rs")
}

fn differs(theirs: &Path, ours: &Path) -> bool {
    match (std::fs::read(theirs), std::fs::read(ours)) {
        (Ok(theirs), Ok(ours)) => theirs != ours,
        _ => true,
    }
}

/// Files and symbolic links below `folder`, relative to it, without what tools leave there.
fn walk(folder: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut files, mut links) = (Vec::new(), Vec::new());
    let mut left = vec![folder.to_owned()];
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(relative) = path.strip_prefix(folder).map(Path::to_owned) else {
                continue;
            };
            let Ok(kind) = entry.file_type() else { continue };
            let tools = ["target", ".git", "hidden", ".DS_Store"]
                .iter()
                .any(|name| relative == Path::new(name));
            if kind.is_symlink() {
                links.push(relative);
            } else if kind.is_dir() && !tools {
                left.push(path);
            } else if kind.is_file() && !tools {
                files.push(relative);
            }
        }
    }
    files.sort();
    links.sort();
    (files, links)
}
