//! `cargo xtask grade`.

mod diagnosis;
mod plan;
pub mod run;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::watch;
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
use run::{Control, Run};

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

    /// Services and the subject's build go on side by side; the reference is built while the first checks run.
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
        let slugs: Vec<&str> = room.buildable(&plan.scenarios);

        let serving = async {
            let since = Instant::now();
            if let Some(words) = fleet::words(&plan.scenarios) {
                screen.doing(&words);
            }
            let fleet = Fleet::start(workbook, &plan.scenarios, plan.services, &|line| {
                screen.doing(line)
            })
            .await;
            screen.end(Lane::Services);
            (fleet, since.elapsed().as_secs_f64())
        };
        let building = async {
            let since = Instant::now();
            let say = |step: &Step| screen.compiling(step);
            let built = compile::build(&room.root, &room.target, &slugs, plan.side, &say).await;
            screen.end(Lane::Build);
            (built, since.elapsed().as_secs_f64())
        };
        let ((fleet, fleet_seconds), (built, build_seconds)) = tokio::join!(serving, building);
        self.seconds.insert("services".to_owned(), fleet_seconds);
        self.seconds.insert("build".to_owned(), build_seconds);
        let built = built?;
        room.built(&plan.scenarios, &built)?;
        let (fleet, missing) = match fleet {
            Ok(fleet) => (fleet, None),
            Err(error) => (Fleet::default(), Some(error)),
        };
        for service in &fleet.told {
            screen.service(service);
        }

        let since = Instant::now();
        let (sender, reference) = watch::channel(None);
        let (scenarios, ()) = tokio::join!(
            self.grade_all(&room, &built, &fleet, missing.as_ref(), &reference),
            self.build_reference(&slugs, sender),
        );
        self.took("checks", since);
        Ok(Graded {
            scenarios: scenarios?,
            room,
            fleet,
        })
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

    async fn build_reference(
        &self,
        slugs: &[&str],
        sender: watch::Sender<Option<Result<Rc<Built>, String>>>,
    ) {
        if self.plan.side == Side::Reference || slugs.is_empty() {
            return;
        }
        let say = |step: &Step| self.screen.compiling(step);
        let (root, target) = (&self.workbook.root, &self.workbook.target);
        let built = compile::build(root, target, slugs, Side::Reference, &say).await;
        self.screen.end(Lane::Build);
        sender.send_replace(Some(built.map(Rc::new).map_err(|error| error.to_string())));
    }

    async fn grade_all(
        &self,
        room: &Room,
        built: &Built,
        fleet: &Fleet,
        missing: Option<&Error>,
        reference: &watch::Receiver<Option<Result<Rc<Built>, String>>>,
    ) -> anyhow::Result<Vec<report::Scenario>> {
        let gate = Gate::new();
        let all = self.plan.scenarios.iter();
        self.screen
            .expect_checks(all.map(|scenario| self.plan.checks_of(scenario).len()).sum());
        let mut scenarios = Vec::new();
        for scenario in &self.plan.scenarios {
            self.screen.scenario(scenario);
            let mut report = match self.obstacle(room, built, missing, scenario) {
                Some(report) => report,
                None => {
                    self.grade_one(room, built, fleet, &gate, reference, scenario)
                        .await?
                }
            };
            report.notes.extend(room.notes_of(scenario));
            self.screen.scenario_ended(&report);
            scenarios.push(report);
        }
        Ok(scenarios)
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
        reference: &watch::Receiver<Option<Result<Rc<Built>, String>>>,
        scenario: &Scenario,
    ) -> anyhow::Result<report::Scenario> {
        let package = scenario.hidden_package();
        let (screen, id) = (Rc::clone(self.screen), scenario.id.clone());
        let (sender, mine) = watch::channel(None);
        let mut all = reference.clone();
        let forwarding = async {
            if let Ok(built) = all.wait_for(Option::is_some).await {
                let program = built.clone().map(|built| {
                    built.and_then(|built| {
                        built
                            .programs
                            .get(&package)
                            .cloned()
                            .ok_or_else(|| built.diagnostics.clone())
                    })
                });
                sender.send_replace(program);
            }
            std::future::pending::<()>().await;
        };
        let run = Run {
            scenario,
            checks: self.plan.checks_of(scenario),
            program: &built.programs[&package],
            folder: &room.exercise(scenario),
            control: match self.plan.side {
                Side::Exercise => Control::Program(mine),
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
        tokio::select! {
            report = run.grade() => Ok(report?),
            () = forwarding => unreachable!("forwarding never ends"),
        }
    }
}
