//! The checks of one scenario: run side by side, judged with the reference as their control.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;
use verdict::wire::Site;
use verdict::{Verdict, report};

use crate::catalogue::Scenario;
use crate::child::{self, Ask, Told};
use crate::compile;
use crate::errors::Error;
use crate::fleet::Fleet;
use crate::gate::{Gate, Turn};
use crate::lend::Lender;
use crate::manifest::{Broken, BudgetSpec, CheckSpec};
use crate::score::{self, Figures};

/// How long the others wait for the first verdict.
const HEAD_START: Duration = Duration::from_secs(3);

/// The hidden program of the reference, once it is built; `Err` says why it cannot be had.
pub type Reference = watch::Receiver<Option<Result<PathBuf, String>>>;

/// Where the reference's figures come from.
#[derive(Clone)]
pub enum Control {
    /// The subject is the reference.
    Subject,
    /// The same check in the reference's program, in this run.
    Program(Reference),
    /// Figures that were measured in this run already.
    Known(Rc<BTreeMap<String, f64>>),
}

/// Hears of every check as it is judged.
pub type Hear = Rc<dyn Fn(&report::Check, &[report::Budget])>;

/// One scenario's checks against one subject.
pub struct Run<'a> {
    pub scenario: &'a Scenario,
    pub checks: Vec<&'a CheckSpec>,
    /// The hidden program that holds the subject.
    pub program: &'a Path,
    /// What the subject's process has as its current folder, as under `cargo test`.
    pub folder: &'a Path,
    pub control: Control,
    pub reference_folder: &'a Path,
    pub fleet: &'a Fleet,
    /// How many checks may run at one time.
    pub gate: &'a Gate,
    pub seed: u64,
    /// The command up to `--check`.
    pub replay: String,
    pub hear: Hear,
    /// Count from here to the first verdict.
    pub begun: Instant,
}

impl Run<'_> {
    pub async fn grade(&self) -> Result<report::Scenario, Error> {
        let tests = compile::checks_of(self.program).await?;
        self.names_agree(&tests)?;
        let checks_begun = Instant::now();
        let first = std::cell::Cell::new(None);
        // What the broken code passes has no deadline to sit out: it comes first, so that there is soon something to read.
        let mut order: Vec<(usize, &CheckSpec)> = self.checks.iter().copied().enumerate().collect();
        order.sort_by_key(|(_, spec)| spec.broken != Broken::Pass);
        let leader = order
            .first()
            .map(|(place, _)| *place)
            .filter(|_| self.has_leader(&order));
        let heard = watch::Sender::new(leader.is_none());
        let mut judged = join_all(order.into_iter().map(async |(place, spec)| {
            if leader != Some(place) {
                let mut heard = heard.subscribe();
                let first = heard.wait_for(|heard| *heard);
                tokio::time::timeout(HEAD_START, first).await.ok();
            }
            let (check, budgets) = self.judge(spec, &tests[&spec.name]).await;
            heard.send_replace(true);
            if first.get().is_none() {
                first.set(Some(self.begun.elapsed().as_secs_f64()));
            }
            (self.hear)(&check, &budgets);
            (place, check, budgets)
        }))
        .await;
        judged.sort_by_key(|(place, ..)| *place);
        let (checks, budgets): (Vec<_>, Vec<_>) = judged
            .into_iter()
            .map(|(_, check, budgets)| (check, budgets))
            .unzip();
        let budgets = budgets.concat();
        let (verdict, score) = score::scenario(&checks, &budgets);
        let seconds = BTreeMap::from([
            ("checks".to_owned(), checks_begun.elapsed().as_secs_f64()),
            ("first_verdict".to_owned(), first.get().unwrap_or_default()),
        ]);
        Ok(report::Scenario {
            verdict,
            score,
            checks,
            budgets,
            seconds,
            ..blank(self.scenario)
        })
    }

    /// Whether the first of `order` is given the processors to itself for a while. What the broken code passes is judged
    /// soon; beside nine checks that the same code hangs in, and their references, it is not. `verify` has nobody who waits
    /// for the first line.
    fn has_leader(&self, order: &[(usize, &CheckSpec)]) -> bool {
        let passes = order.first().is_some_and(|(_, spec)| spec.broken == Broken::Pass);
        passes && matches!(self.control, Control::Program(_))
    }

    /// The manifest and the code name the same checks.
    fn names_agree(&self, tests: &BTreeMap<String, String>) -> Result<(), Error> {
        let manifest = &self.scenario.manifest;
        if let Some(check) = manifest
            .check
            .iter()
            .find(|check| !tests.contains_key(&check.name))
        {
            let what = format!(
                "check `{}` is not among the tests in hidden/tests/grade.rs",
                check.name
            );
            return Err(Error::slip(self.scenario.manifest_file(), what));
        }
        if let Some(test) = tests.keys().find(|test| manifest.check(test).is_none()) {
            let what = format!("the test `{test}` in hidden/tests/grade.rs has no [[check]]");
            return Err(Error::slip(self.scenario.manifest_file(), what));
        }
        Ok(())
    }

    async fn judge(&self, spec: &CheckSpec, test: &str) -> (report::Check, Vec<report::Budget>) {
        let budgets: Vec<&BudgetSpec> = self.scenario.manifest.budgets_of(&spec.name).collect();
        let (mut subject, mut reference) = if budgets.is_empty() {
            (self.run_subject(test, false).await, None)
        } else {
            tokio::join!(self.run_subject(test, false), self.run_reference(test))
        };
        if subject.judgement.verdict == Verdict::Fail {
            if reference.is_none() {
                reference = self.run_reference(test).await;
            }
            self.doubt(&mut subject, reference.as_ref()).await;
        }
        let verdict = subject.judgement.verdict;
        let measured = |told: &Told, metric: &str| told.measured.get(metric).copied();
        let passing = reference
            .as_ref()
            .filter(|told| told.judgement.verdict == Verdict::Pass);
        let mut judged: Vec<report::Budget> = budgets
            .iter()
            .map(|budget| {
                let value = measured(&subject, &budget.metric);
                let reference = match &self.control {
                    Control::Program(_) => passing.and_then(|told| measured(told, &budget.metric)),
                    Control::Known(figures) => figures.get(&budget.metric).copied(),
                    Control::Subject => value,
                };
                score::budget(budget, verdict, Figures { value, reference })
            })
            .collect();
        for budget in &mut judged {
            budget.method = subject.methods.remove(&budget.metric);
        }
        for budget in judged.iter_mut().filter(|budget| exceeded(budget)) {
            if let Some(explained) = subject.explained.remove(&budget.metric) {
                budget.because = Some(explained.because);
                budget.evidence.extend(explained.evidence);
            }
        }
        self.tell_sites(test, &mut judged).await;
        (self.check_report(spec, subject), judged)
    }

    /// A failure on a machine where the reference fails as well says nothing about the submission.
    async fn doubt(&self, subject: &mut Told, reference: Option<&Told>) {
        let judgement = &mut subject.judgement;
        if let Some(dead) = self.fleet.dead().await {
            judgement.verdict = Verdict::Environment;
            judgement.because = Some(format!("{dead}; what was seen above came of that."));
            return;
        }
        let Some(reference) = reference.filter(|told| told.judgement.verdict != Verdict::Pass) else {
            return;
        };
        let theirs = &reference.judgement;
        judgement.verdict = match theirs.verdict {
            Verdict::Inconclusive => Verdict::Inconclusive,
            _ => Verdict::Environment,
        };
        judgement.because =
            Some("The reference solution does not pass this check on this machine either.".to_owned());
        judgement
            .evidence
            .insert(0, format!("the reference: {}", theirs.observed));
    }

    async fn run_subject(&self, test: &str, sites: bool) -> Told {
        self.run_program(self.program, self.folder, test, sites, Turn::InLine)
            .await
    }

    /// `None` where there is no program to run as control.
    async fn run_reference(&self, test: &str) -> Option<Told> {
        let Control::Program(built) = &self.control else {
            return None;
        };
        let mut built = built.clone();
        let program = match built.wait_for(Option::is_some).await {
            Ok(program) => program.clone()?,
            Err(_) => Err("its build was given up".to_owned()),
        };
        Some(match program {
            // A subject was let in, and its verdict waits for this.
            Ok(program) => {
                self.run_program(&program, self.reference_folder, test, false, Turn::Before)
                    .await
            }
            Err(error) => Told::missing(format!("the reference could not be built: {error}")),
        })
    }

    async fn run_program(&self, program: &Path, folder: &Path, test: &str, sites: bool, turn: Turn) -> Told {
        let _place = self.gate.enter(turn).await;
        let postgres = self.fleet.postgres_job(self.scenario);
        let database = postgres.as_ref().map(|job| job.database.clone());
        let lender = Lender::new(self.fleet, self.scenario);
        let mut told = child::run(Ask {
            program,
            test,
            folder,
            seed: self.seed,
            sites,
            postgres,
            lender: &lender,
        })
        .await;
        if told.judgement.verdict == Verdict::Fail
            && let Some(dead) = lender.dead().await
        {
            told.judgement.verdict = Verdict::Environment;
            told.judgement.because = Some(format!("{dead}; what was seen above came of that."));
        }
        lender.take_back().await;
        if let Some(database) = database {
            self.fleet.drop_database(&database).await;
        }
        told
    }

    /// A budget of memory that was exceeded is told with the places that asked for it, from a second run.
    async fn tell_sites(&self, test: &str, budgets: &mut [report::Budget]) {
        let of_memory = |budget: &report::Budget| {
            exceeded(budget) && matches!(budget.unit.as_str(), "bytes" | "allocations")
        };
        if !budgets.iter().any(of_memory) {
            return;
        }
        let told = self.run_subject(test, true).await;
        for budget in budgets.iter_mut().filter(|budget| of_memory(budget)) {
            let sites = told.sites.get(&budget.metric).into_iter().flatten();
            budget
                .evidence
                .extend(sites.map(|site| site_words(site, budget.unit == "bytes")));
        }
    }

    fn check_report(&self, spec: &CheckSpec, told: Told) -> report::Check {
        let Told {
            judgement,
            stuck,
            seconds,
            ..
        } = told;
        report::Check {
            name: spec.name.clone(),
            verdict: judgement.verdict,
            points: score::check_points(spec, judgement.verdict),
            points_max: f64::from(spec.points),
            required: spec.required,
            claim: spec.asks.clone(),
            observed: judgement.observed,
            because: judgement.because,
            evidence: judgement.evidence,
            stuck: stuck && judgement.verdict == Verdict::Fail,
            replay: format!("{} --check {} --seed {}", self.replay, spec.name, self.seed),
            seconds,
        }
    }
}

/// Whether there is a figure, and it is above the limit.
fn exceeded(budget: &report::Budget) -> bool {
    budget.verdict == Verdict::Fail && budget.value.is_some()
}

fn site_words(site: &Site, live: bool) -> String {
    let held = if live {
        format!("{} bytes held", score::figure(site.live_bytes as f64))
    } else {
        String::new()
    };
    let asked = format!(
        "{} allocations, {} bytes",
        score::figure(site.allocations as f64),
        score::figure(site.bytes as f64)
    );
    let what = if live {
        format!("{held} ({asked} asked for)")
    } else {
        asked
    };
    format!("{what} at {}", site.frames.join(" < "))
}

/// A report of a scenario in which nothing was judged.
pub fn blank(scenario: &Scenario) -> report::Scenario {
    report::Scenario {
        id: scenario.id.clone(),
        title: scenario.manifest.title.clone(),
        verdict: Verdict::Environment,
        score: 0,
        build: report::Build::Ok,
        checks: Vec::new(),
        budgets: Vec::new(),
        notes: Vec::new(),
        seconds: BTreeMap::new(),
    }
}

/// The subject does not compile.
pub fn not_built(scenario: &Scenario, diagnostics: String) -> report::Scenario {
    report::Scenario {
        verdict: Verdict::Fail,
        build: report::Build::Failed,
        notes: vec![diagnostics],
        ..blank(scenario)
    }
}

/// The subject was refused before or after compiling.
pub fn refused(scenario: &Scenario, why: String) -> report::Scenario {
    report::Scenario {
        verdict: Verdict::Fail,
        build: report::Build::Skipped,
        notes: vec![why],
        ..blank(scenario)
    }
}

/// A server that the scenario needs cannot be had.
pub fn not_served(scenario: &Scenario, why: String) -> report::Scenario {
    report::Scenario {
        verdict: Verdict::Environment,
        build: report::Build::Skipped,
        notes: vec![why],
        ..blank(scenario)
    }
}
