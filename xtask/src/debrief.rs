//! `cargo xtask debrief`: the post-mortem, and how the learner's files differ from the reference.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use similar::TextDiff;
use verdict::ExitCode;

use crate::catalogue;
use crate::errors::Error;
use crate::flags::Debrief;
use crate::progress::Progress;
use crate::variant;
use crate::workbook::Workbook;

pub fn run(workbook: &Workbook, flags: &Debrief) -> anyhow::Result<ExitCode> {
    let scenario = catalogue::one(workbook, &flags.scenario)?;
    let passed = Progress::load(workbook)
        .scenarios
        .get(&scenario.id)
        .is_some_and(|standing| standing.passed);
    if !passed && !flags.anyway {
        return Err(Error::Usage {
            what: format!(
                "{} is not passed yet, and the debrief tells the answer",
                scenario.id
            ),
            next: format!(
                "cargo xtask grade {0}, or cargo xtask debrief {0} --anyway",
                scenario.number()
            ),
        }
        .into());
    }
    let file = scenario.solution.join("POSTMORTEM.md");
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Error::slip(&file, format!("failed to read it: {error}")))?;
    println!("{}", text.trim_end());
    println!("\n## Your files beside the reference\n");
    let theirs = variant::overlay(&workbook.root, &scenario, None)?.files;
    let lesson = scenario
        .manifest
        .lesson_globs()
        .map_err(|what| Error::slip(scenario.manifest_file(), what))?;
    let mine: BTreeSet<PathBuf> = walk(&scenario.exercise)
        .into_iter()
        .filter(|file| lesson.is_match(file))
        .collect();
    let mut same = true;
    for file in mine.iter().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let yours = std::fs::read_to_string(scenario.exercise.join(file)).unwrap_or_default();
        let reference = theirs
            .get(file)
            .map(|content| String::from_utf8_lossy(content).into_owned())
            .unwrap_or_default();
        if yours != reference {
            same = false;
            let diff = TextDiff::from_lines(&yours, &reference);
            let name = file.display();
            print!(
                "{}",
                diff.unified_diff()
                    .context_radius(2)
                    .header(&format!("yours/{name}"), &format!("reference/{name}"))
            );
        }
    }
    if same {
        println!("They are the same.");
    }
    let others: Vec<String> = variant::read(&scenario)?
        .into_iter()
        .filter(|v| v.accepted)
        .map(|v| v.name)
        .collect();
    if !others.is_empty() {
        println!(
            "\nOther right fixes: solutions/{}/variants/accepted: {}",
            scenario.id,
            others.join(", ")
        );
    }
    Ok(ExitCode::Passed)
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
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
            } else if let Ok(name) = path.strip_prefix(folder) {
                files.push(name.to_owned());
            }
        }
    }
    files
}
