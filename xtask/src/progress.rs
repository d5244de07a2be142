//! The learner's scores: `.war-stories/progress.json`, which git ignores.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use verdict::{Verdict, report};

use crate::workbook::Workbook;

/// Runs kept per scenario.
const HISTORY_MAX: usize = 200;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    #[serde(default)]
    pub scenarios: BTreeMap<String, Standing>,
}

/// How one scenario stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// 0 to 100.
    pub best: u32,
    pub passed: bool,
    #[serde(default)]
    pub history: Vec<Entry>,
    /// Hints seen, per check.
    #[serde(default)]
    pub hints: BTreeMap<String, usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970.
    pub at: u64,
    pub score: u32,
    pub verdict: Verdict,
}

impl Progress {
    /// What was kept. A file that cannot be read as such is set aside, never overwritten and never a crash.
    pub fn load(workbook: &Workbook) -> Progress {
        for file in files(workbook) {
            let Ok(text) = std::fs::read(&file) else { continue };
            match serde_json::from_slice(&text) {
                Ok(progress) => return progress,
                Err(error) => {
                    let aside = file.with_file_name(format!("progress.corrupt-{}.json", now()));
                    let moved = std::fs::rename(&file, &aside);
                    let place = if moved.is_ok() { &aside } else { &file };
                    eprintln!(
                        "note: {} could not be read ({error}); it was set aside as {} and scores start anew",
                        workbook.short(&file).display(),
                        workbook.short(place).display()
                    );
                }
            }
        }
        Progress::default()
    }

    /// Writes the file whole or not at all. A workbook that cannot be written to keeps it in the target folder.
    pub fn save(&self, workbook: &Workbook) {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        let mut failures = Vec::new();
        for file in files(workbook) {
            let fresh = file.with_extension("json.new");
            let written = file
                .parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| std::fs::write(&fresh, &text))
                .and_then(|()| std::fs::rename(&fresh, &file));
            match written {
                Ok(()) => return,
                Err(error) => failures.push(format!("{}: {error}", file.display())),
            }
            std::fs::remove_file(&fresh).ok();
        }
        eprintln!(
            "note: this run's score could not be kept: {}",
            failures.join("; ")
        );
    }

    /// Takes the scenarios of a run that could be judged.
    pub fn record(&mut self, report: &report::Report) {
        for scenario in &report.scenarios {
            if matches!(scenario.verdict, Verdict::Environment | Verdict::Inconclusive) {
                continue;
            }
            let standing = self.scenarios.entry(scenario.id.clone()).or_default();
            standing.best = standing.best.max(scenario.score);
            standing.passed |= scenario.verdict == Verdict::Pass;
            standing.history.push(Entry {
                at: now(),
                score: scenario.score,
                verdict: scenario.verdict,
            });
            let surplus = standing.history.len().saturating_sub(HISTORY_MAX);
            standing.history.drain(..surplus);
        }
    }
}

fn files(workbook: &Workbook) -> [PathBuf; 2] {
    [
        workbook.root.join(".war-stories").join("progress.json"),
        workbook.workshop().join("progress.json"),
    ]
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workbook() -> (tempfile::TempDir, Workbook) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        (
            folder,
            Workbook {
                target: root.join("target"),
                root,
            },
        )
    }

    fn standing(best: u32) -> Progress {
        Progress {
            scenarios: BTreeMap::from([(
                "01-a".to_owned(),
                Standing {
                    best,
                    ..Standing::default()
                },
            )]),
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let (_folder, workbook) = workbook();
        standing(40).save(&workbook);
        assert_eq!(Progress::load(&workbook), standing(40));
    }

    #[test]
    fn a_corrupt_file_is_set_aside() {
        let (folder, workbook) = workbook();
        std::fs::create_dir(folder.path().join(".war-stories")).unwrap();
        std::fs::write(
            folder.path().join(".war-stories/progress.json"),
            "{\"scenarios\": [",
        )
        .unwrap();
        assert_eq!(Progress::load(&workbook), Progress::default());
        let kept = std::fs::read_dir(folder.path().join(".war-stories"))
            .unwrap()
            .flatten()
            .next()
            .unwrap();
        assert_eq!(std::fs::read_to_string(kept.path()).unwrap(), "{\"scenarios\": [");
    }

    #[test]
    fn a_workbook_that_cannot_be_written_to_keeps_it_in_the_target_folder() {
        let (folder, workbook) = workbook();
        // A file where the folder should be: not even root can write there.
        std::fs::write(folder.path().join(".war-stories"), "").unwrap();
        standing(7).save(&workbook);
        assert_eq!(Progress::load(&workbook), standing(7));
    }
}
