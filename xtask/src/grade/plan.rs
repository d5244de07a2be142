use std::path::{Path, PathBuf};

use crate::catalogue::{self, Scenario};
use crate::compile::Side;
use crate::errors::{Error, near};
use crate::flags::{Grade, ServiceMode};
use crate::manifest::CheckSpec;
use crate::workbook::Workbook;

/// What was asked for, understood.
pub struct Plan {
    pub scenarios: Vec<Scenario>,
    pub side: Side,
    pub submission: Option<PathBuf>,
    pub seed: u64,
    pub services: ServiceMode,
    checks: Vec<String>,
}

impl Plan {
    pub fn make(workbook: &Workbook, flags: &Grade) -> Result<Plan, Error> {
        let scenarios = catalogue::pick(catalogue::read(workbook)?, &flags.scenarios)?;
        let known: Vec<&str> = scenarios
            .iter()
            .flat_map(|s| s.manifest.check.iter().map(|check| check.name.as_str()))
            .collect();
        if let Some(asked) = flags.checks.iter().find(|asked| !known.contains(&asked.as_str())) {
            return Err(Error::UnknownCheck {
                asked: asked.clone(),
                near: near(asked, known),
            });
        }
        if flags.submission.is_some() && (scenarios.len() != 1 || flags.scenarios.is_empty()) {
            return Err(Error::Usage {
                what: "a submission is graded for one scenario at a time".to_owned(),
                next: "cargo xtask grade SCENARIO --submission DIR".to_owned(),
            });
        }
        let picked = |s: &Scenario| {
            flags.checks.is_empty() || s.manifest.check.iter().any(|c| flags.checks.contains(&c.name))
        };
        Ok(Plan {
            scenarios: scenarios.into_iter().filter(picked).collect(),
            side: if flags.reference {
                Side::Reference
            } else {
                Side::Exercise
            },
            submission: flags.submission.clone(),
            seed: flags.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000)),
            services: flags.services,
            checks: flags.checks.clone(),
        })
    }

    pub fn checks_of<'a>(&self, scenario: &'a Scenario) -> Vec<&'a CheckSpec> {
        let asked = |check: &&CheckSpec| self.checks.is_empty() || self.checks.contains(&check.name);
        scenario.manifest.check.iter().filter(asked).collect()
    }

    /// Only the learner's own tree, graded whole, counts.
    pub fn keeps_score(&self) -> bool {
        self.side == Side::Exercise && self.submission.is_none() && self.checks.is_empty()
    }

    pub fn subject_words(&self) -> String {
        match (&self.submission, self.side) {
            (Some(folder), _) => folder.display().to_string(),
            (None, Side::Exercise) => "exercise".to_owned(),
            (None, Side::Reference) => "reference".to_owned(),
        }
    }

    /// The command up to `--check`, for replays.
    pub fn replay(&self, scenario: &Scenario) -> String {
        let who = match (&self.submission, self.side) {
            (Some(folder), _) => format!(" --submission {}", quoted(folder)),
            (None, Side::Exercise) => String::new(),
            (None, Side::Reference) => " --reference".to_owned(),
        };
        format!("cargo xtask grade {}{who}", scenario.number())
    }
}

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains([' ', '\'', '"', '$']) {
        format!("'{}'", text.replace('\'', r"'\''"))
    } else {
        text
    }
}
