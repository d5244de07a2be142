//! `scenario.toml`: read, and checked for all that can be known without building anything.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use verdict::Verdict;

use crate::errors::Error;
use crate::globs::Globs;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    pub title: String,
    /// The number in the folder's name.
    pub order: u32,
    /// One sentence for the table of scenarios.
    pub summary: String,
    /// `postgres`, `redis` …
    #[serde(default)]
    pub services: Vec<String>,
    /// Those that a check may ask for, and that are not looked for before: only some fixes use them.
    #[serde(default)]
    pub services_on_demand: Vec<String>,
    /// All that a learner may change, as globs from the exercise's folder.
    pub lesson_files: Vec<String>,
    /// How long a senior engineer may need.
    pub minutes: u32,
    pub seed: Option<Seed>,
    #[serde(default)]
    pub check: Vec<CheckSpec>,
    #[serde(default)]
    pub budget: Vec<BudgetSpec>,
    pub incident: Option<IncidentSpec>,
}

/// What there is to be seen of the incident while the service is watched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IncidentSpec {
    /// After so many seconds its symptoms are plain.
    pub plain_after_s: u64,
    pub symptom: Vec<SymptomSpec>,
}

/// A series that tells the broken code from the reference.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SymptomSpec {
    /// As `/metrics` has it: `pool_connections{state="idle"}`.
    pub series: String,
    pub figure: Figure,
    /// What the untouched exercise shows, and the reference.
    pub exercise: Bound,
    pub reference: Bound,
}

/// What is taken of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Figure {
    Last,
    Peak,
    /// The last less the first, as of a count.
    Rise,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// What the scenario's databases are copied from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// SQL, run once; `:rows` stands for the number of rows.
    pub postgres: String,
    #[serde(default = "default_rows")]
    pub rows: u64,
}

fn default_rows() -> u64 {
    1000
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckSpec {
    /// The test's name.
    pub name: String,
    pub asks: String,
    pub points: u32,
    /// What the untouched exercise gives.
    pub broken: Broken,
    #[serde(default = "yes")]
    pub required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Broken {
    Pass,
    Fail,
    Either,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSpec {
    pub metric: String,
    /// The check that records it.
    pub check: String,
    pub asks: String,
    pub limit: Limit,
    pub unit: String,
    pub points: u32,
    pub broken: BrokenBudget,
    #[serde(default = "yes")]
    pub required: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    AtMost(f64),
    TimesReference(f64),
    ReferencePlus(f64),
}

impl Limit {
    /// The limit in the budget's unit; `None` without the reference's figure where it depends on it.
    pub fn value(self, reference: Option<f64>) -> Option<f64> {
        match self {
            Limit::AtMost(limit) => Some(limit),
            Limit::TimesReference(factor) => reference.map(|reference| reference * factor),
            Limit::ReferencePlus(more) => reference.map(|reference| reference + more),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokenBudget {
    pub verdict: Verdict,
    /// In the budget's unit; absent when the broken code does not get as far as being measured.
    pub value: Option<f64>,
    /// By what factor it may be off, where the machine has a say in it; without it, by a tenth.
    pub within: Option<f64>,
}

impl Manifest {
    /// Reads and checks the manifest in `folder`.
    pub fn read(folder: &Path) -> Result<Manifest, Error> {
        let file = folder.join("scenario.toml");
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Error::slip(&file, format!("failed to read it: {error}")))?;
        let manifest = Manifest::parse(&text).map_err(|what| Error::slip(&file, what))?;
        let needed = [
            "README.md",
            "Cargo.toml",
            "src",
            "hidden/Cargo.toml",
            "hidden/tests/grade.rs",
            "hidden/hints.toml",
        ];
        let seed = manifest.seed.iter().map(|seed| seed.postgres.as_str());
        if let Some(missing) = needed
            .into_iter()
            .chain(seed)
            .find(|name| !folder.join(name).exists())
        {
            return Err(Error::slip(
                folder.join(missing),
                "this file of the scenario is missing",
            ));
        }
        Ok(manifest)
    }

    pub fn parse(text: &str) -> Result<Manifest, String> {
        let manifest: Manifest =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        manifest.validate()?;
        Ok(manifest)
    }

    fn validate(&self) -> Result<(), String> {
        if self.check.is_empty() {
            return Err("`[[check]]`: expected at least one check".to_owned());
        }
        let mut names = BTreeSet::new();
        for name in self
            .check
            .iter()
            .map(|c| &c.name)
            .chain(self.budget.iter().map(|b| &b.metric))
        {
            if !names.insert(name) {
                return Err(format!("`{name}` is declared twice"));
            }
        }
        for budget in &self.budget {
            if self.check(&budget.check).is_none() {
                return Err(format!(
                    "budget `{}`, key `check`: no check is called `{}`",
                    budget.metric, budget.check
                ));
            }
        }
        for service in self.services.iter().chain(&self.services_on_demand) {
            if service.parse::<services::Kind>().is_err() {
                return Err(format!(
                    "key `services`: expected postgres, redis, pgbouncer, etcd, zookeeper or dynamodb, found `{service}`"
                ));
            }
        }
        if let Some(incident) = &self.incident
            && (incident.symptom.is_empty() || !(1..=60).contains(&incident.plain_after_s))
        {
            return Err(
                "`[incident]`: expected at least one symptom, plain after 1 to 60 seconds".to_owned(),
            );
        }
        let needs = |word: &str| self.services.iter().any(|service| service == word);
        if needs("pgbouncer") && !needs("postgres") {
            return Err(
                "key `services`: expected postgres beside pgbouncer, which stands before it".to_owned(),
            );
        }
        let points: u32 = self
            .check
            .iter()
            .map(|c| c.points)
            .chain(self.budget.iter().map(|b| b.points))
            .sum();
        if points != 100 {
            return Err(format!(
                "key `points`: expected 100 over all checks and budgets, found {points}"
            ));
        }
        self.lesson_globs().map(drop)
    }

    /// Whether a check of this scenario is lent a server of that kind.
    pub fn may_ask_for(&self, kind: services::Kind) -> bool {
        let mut declared = self.services.iter().chain(&self.services_on_demand);
        declared.any(|word| word == kind.word())
    }

    pub fn check(&self, name: &str) -> Option<&CheckSpec> {
        self.check.iter().find(|check| check.name == name)
    }

    pub fn budgets_of<'a>(&'a self, check: &'a str) -> impl Iterator<Item = &'a BudgetSpec> {
        self.budget.iter().filter(move |budget| budget.check == check)
    }

    /// Matches paths relative to the exercise's folder.
    pub fn lesson_globs(&self) -> Result<Globs, String> {
        Globs::parse(&self.lesson_files).map_err(|error| format!("key `lesson-files`: {error}"))
    }
}
