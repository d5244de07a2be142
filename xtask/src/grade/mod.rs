//! `cargo xtask grade`.

mod diagnosis;
mod plan;
pub mod run;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use tokio::sync::{oneshot, watch};
use verdict::{ExitCode, Verdict, report};

use crate::catalogue::Scenario;
use crate::compile::{self, Built, Side};
use crate::errors::Error;
use crate::flags::{Diagnosis, Format, Grade};
use crate::fleet::{self, Fleet};
use crate::gate::Gate;
use crate::heard::Step;
use crate::lanes::Lane;
use crate::progress::Progress;
use crate::room::Room;
use crate::terminal::Screen;
use crate::workbook::Workbook;
use plan::Plan;
use run::{Control, Reference, Run};

pub async fn run(workbook: &Workbook, flags: &Grade) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let plan = Plan::make(workbook, flags)?;
    let screen = Rc::new(Screen::new(flags.format));
    let mut grading = Grading {
        workbook,
        plan: &plan,
        screen: &screen,
        begun,
        seconds: BTreeMap::new(),
    };
    let Graded {
        room,
        fleet,
        scenarios,
    } = grading.grade().await?;
    grading.took("total", begun);

    let report = report::Report {
        schema: report::SCHEMA,
        verdict: Verdict::all(scenarios.iter().map(|scenario| scenario.verdict)),
        seed: plan.seed,
        subject: plan.subject_words(),
        services: fleet.told.clone(),
        scenarios,
        seconds: std::mem::take(&mut grading.seconds),
    };
    if plan.keeps_score() {
        let mut progress = Progress::load(workbook);
        progress.record(&report);
        progress.save(workbook);
    }
    match flags.format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Format::Text => {
            screen.summary(&report);
            // The verdict stands and is told; whoever does not want to wait for this need not.
            grading.diagnose(flags.diagnosis, &room, &fleet, &report).await;
        }
    }
    fleet.stop().await;
    let codes = report
        .scenarios
        .iter()
        .map(|scenario| ExitCode::of(scenario.verdict, scenario.build != report::Build::Failed));
    Ok(ExitCode::first_told(codes))
}

/// What is there once everything is judged.
struct Graded {
    room: Room,
    fleet: Fleet,
    scenarios: Vec<report::Scenario>,
}

struct Grading<'a> {
    workbook: &'a Workbook,
    plan: &'a Plan,
    screen: &'a Rc<Screen>,
    begun: Instant,
    seconds: BTreeMap<String, f64>,
}

impl Grading<'_> {
    fn took(&mut self, what: &str, since: Instant) {
        self.seconds
            .insert(what.to_owned(), since.elapsed().as_secs_f64());
    }

    /// Servers are started and programs built side by side, scenario by scenario: the checks of one run while its reference
    /// and what comes after it are compiled.
    async fn grade(&mut self) -> anyhow::Result<Graded> {
        let (workbook, plan, screen) = (self.workbook, self.plan, self.screen);
        let room = Room::prepare(
            workbook,
            plan.side,
            &plan.scenarios,
            plan.submission.as_deref(),
            screen,
        )
        .await?;
        let (builds, awaited): (Vec<_>, Vec<_>) = plan.scenarios.iter().map(|_| handed_over()).unzip();

        let building = async {
            let mut seconds = 0.0;
            for (scenario, build) in plan.scenarios.iter().zip(builds) {
                seconds += self.build(&room, scenario, build).await;
            }
            screen.end(Lane::Build);
            Ok(seconds)
        };
        let judging = async {
            let since = Instant::now();
            if let Some(words) = fleet::words(&plan.scenarios) {
                screen.doing(&words);
            }
            let say = |line: &str| screen.doing(line);
            let fleet = Fleet::start(workbook, &plan.scenarios, plan.services, &say).await;
            screen.end(Lane::Services);
            let fleet_seconds = since.elapsed().as_secs_f64();
            let (fleet, missing) = match fleet {
                Ok(fleet) => (fleet, None),
                Err(error) => (Fleet::default(), Some(error)),
            };
            for service in &fleet.told {
                screen.service(service);
            }
            let (scenarios, checks_seconds) =
                self.grade_all(&room, &fleet, missing.as_ref(), awaited).await?;
            Ok::<_, anyhow::Error>((fleet, fleet_seconds, scenarios, checks_seconds))
        };
        let (build_seconds, (fleet, fleet_seconds, scenarios, checks_seconds)) =
            tokio::try_join!(building, judging)?;
        for (what, seconds) in [
            ("services", fleet_seconds),
            ("build", build_seconds),
            ("checks", checks_seconds),
        ] {
            self.seconds.insert(what.to_owned(), seconds);
        }
        Ok(Graded {
            scenarios,
            room,
            fleet,
        })
    }

    /// Builds a scenario's subject, then its reference; the seconds that the subject took.
    async fn build(&self, room: &Room, scenario: &Scenario, build: Build) -> f64 {
        if room.refused(scenario).is_some() {
            build.subject.send(Ok(Built::default())).ok();
            return 0.0;
        }
        let since = Instant::now();
        let slugs = [scenario.slug.as_str()];
        let say = |step: &Step| self.screen.compiling(step);
        let built = compile::build(&room.root, &room.target, &slugs, self.plan.side, &say).await;
        let built = built.and_then(|built| room.built(scenario, &built).map(|()| built));
        let there = built
            .as_ref()
            .is_ok_and(|built| built.programs.contains_key(&scenario.hidden_package()));
        build.subject.send(built).ok();
        let seconds = since.elapsed().as_secs_f64();
        if there && self.plan.side == Side::Exercise {
            let (root, target) = (&self.workbook.root, &self.workbook.target);
            let built = compile::build(root, target, &slugs, Side::Reference, &say).await;
            let program = built.map_err(|error| error.to_string()).and_then(|mut built| {
                let program = built.programs.remove(&scenario.hidden_package());
                program.ok_or(built.diagnostics)
            });
            build.reference.send_replace(Some(program));
        }
        seconds
    }

    /// Runs what was stuck once more in the diagnosis build, if that is wanted.
    async fn diagnose(&self, wanted: Diagnosis, room: &Room, fleet: &Fleet, report: &report::Report) {
        let stuck = diagnosis::stuck(self.plan, report);
        let Some((scenario, checks)) = stuck.first() else {
            return;
        };
        let wait = match wanted {
            Diagnosis::Never => return,
            Diagnosis::Always => true,
            Diagnosis::Auto => std::io::stdout().is_terminal() && std::io::stderr().is_terminal(),
        };
        if !wait {
            self.screen.line(&format!(
                "where the tasks of a stuck check wait: cargo xtask grade {} --check {} --diagnosis always",
                scenario.number(),
                checks[0].name
            ));
            return;
        }
        diagnosis::run(self.plan, self.screen, room, fleet, &stuck).await;
    }

    /// The reports, and how long it took from the first program that could be run.
    async fn grade_all(
        &self,
        room: &Room,
        fleet: &Fleet,
        missing: Option<&Error>,
        awaited: Vec<Awaited>,
    ) -> anyhow::Result<(Vec<report::Scenario>, f64)> {
        let gate = Gate::new();
        let all = self.plan.scenarios.iter();
        self.screen
            .expect_checks(all.map(|scenario| self.plan.checks_of(scenario).len()).sum());
        let mut scenarios = Vec::new();
        let mut since = None;
        for (scenario, awaited) in self.plan.scenarios.iter().zip(awaited) {
            let built = awaited.subject.await.context("a build ended without a word")??;
            since.get_or_insert_with(Instant::now);
            self.screen.scenario(scenario);
            let mut report = match self.obstacle(room, &built, missing, scenario) {
                Some(report) => report,
                None => {
                    self.grade_one(room, &built, fleet, &gate, awaited.reference, scenario)
                        .await?
                }
            };
            report.notes.extend(room.notes_of(scenario));
            self.screen.scenario_ended(&report);
            scenarios.push(report);
        }
        let seconds = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        Ok((scenarios, seconds))
    }

    /// What keeps a scenario from being run at all.
    fn obstacle(
        &self,
        room: &Room,
        built: &Built,
        missing: Option<&Error>,
        scenario: &Scenario,
    ) -> Option<report::Scenario> {
        if let Some(why) = room.refused(scenario) {
            return Some(run::refused(scenario, why));
        }
        if !built.programs.contains_key(&scenario.hidden_package()) {
            if let Some(what) = self.machines_fault(built, scenario) {
                return Some(run::not_served(scenario, what));
            }
            return Some(run::not_built(
                scenario,
                compile::diagnostics_of(&built.diagnostics, scenario),
            ));
        }
        if let Some(why) = room.reaches_outside(scenario, built) {
            return Some(run::refused(scenario, why));
        }
        missing
            .filter(|_| !scenario.manifest.services.is_empty())
            .map(|why| run::not_served(scenario, why.to_string()))
    }

    /// Why it did not compile, where that has nothing to do with what was to be compiled.
    fn machines_fault(&self, built: &Built, scenario: &Scenario) -> Option<String> {
        let (what, next) = match built.trouble {
            Some(trouble) => (trouble.what, trouble.next),
            None if compile::gave_up_early(&built.diagnostics, scenario) => (
                "cargo could not read the workbook",
                "git status, and put back what changed outside the lesson files",
            ),
            None => return None,
        };
        let said = built.diagnostics.trim_end();
        Some(format!("it could not be compiled: {what}\nnext  {next}\n{said}"))
    }

    async fn grade_one(
        &self,
        room: &Room,
        built: &Built,
        fleet: &Fleet,
        gate: &Gate,
        reference: Reference,
        scenario: &Scenario,
    ) -> anyhow::Result<report::Scenario> {
        let (screen, id) = (Rc::clone(self.screen), scenario.id.clone());
        let run = Run {
            scenario,
            checks: self.plan.checks_of(scenario),
            program: &built.programs[&scenario.hidden_package()],
            folder: &room.exercise(scenario),
            control: match self.plan.side {
                Side::Exercise => Control::Program(reference),
                Side::Reference => Control::Subject,
            },
            reference_folder: &scenario.solution,
            fleet,
            gate,
            seed: self.plan.seed,
            replay: self.plan.replay(scenario),
            hear: Rc::new(move |check, budgets| screen.check(&id, check, budgets)),
            begun: self.begun,
        };
        Ok(run.grade().await?)
    }
}

/// Where a scenario's builds are handed over.
struct Build {
    subject: oneshot::Sender<Result<Built, Error>>,
    reference: watch::Sender<Option<Result<PathBuf, String>>>,
}

/// The other end of [`Build`].
struct Awaited {
    subject: oneshot::Receiver<Result<Built, Error>>,
    reference: Reference,
}

fn handed_over() -> (Build, Awaited) {
    let (subject, awaited_subject) = oneshot::channel();
    let (reference, awaited_reference) = watch::channel(None);
    let build = Build { subject, reference };
    let awaited = Awaited {
        subject: awaited_subject,
        reference: awaited_reference,
    };
    (build, awaited)
}
