//! Where the tasks of a stuck check wait: the check, run once more in a build that knows.
//!
//! It comes after the verdict and changes nothing about it. Whatever goes wrong here is a line, never an error.

use std::path::Path;

use verdict::report;

use crate::catalogue::Scenario;
use crate::child::{self, Ask, Told};
use crate::compile::{self, Built, Flavour};
use crate::fleet::Fleet;
use crate::grade::plan::Plan;
use crate::heard::Step;
use crate::lanes::Lane;
use crate::lend::Lender;
use crate::manifest::CheckSpec;
use crate::room::Room;
use crate::stale;
use crate::terminal::Screen;

/// Stuck checks that are run again for each scenario.
const CHECKS_MAX: usize = 4;

/// The checks that were stuck, per scenario.
pub fn stuck<'a>(plan: &'a Plan, report: &report::Report) -> Vec<(&'a Scenario, Vec<&'a CheckSpec>)> {
    let of = |scenario: &'a Scenario| {
        let graded = report.scenarios.iter().find(|graded| graded.id == scenario.id)?;
        let was_stuck = |spec: &&CheckSpec| {
            graded
                .checks
                .iter()
                .any(|check| check.name == spec.name && check.stuck)
        };
        let checks: Vec<&CheckSpec> = plan.checks_of(scenario).into_iter().filter(was_stuck).collect();
        (!checks.is_empty()).then_some((scenario, checks))
    };
    plan.scenarios.iter().filter_map(of).collect()
}

pub async fn run(
    plan: &Plan,
    screen: &Screen,
    room: &Room,
    fleet: &Fleet,
    stuck: &[(&Scenario, Vec<&CheckSpec>)],
) {
    let target = room.target.join("diagnosis");
    let first = if target.is_dir() {
        ""
    } else {
        " (the first takes a minute or two; --diagnosis never does without)"
    };
    screen.line(&format!(
        "\nbuilding the diagnosis flavour, which knows where tasks wait{first}"
    ));
    let slugs: Vec<&str> = stuck.iter().map(|(scenario, _)| scenario.slug.as_str()).collect();
    let built = match build(plan, screen, room, &target, &slugs, stuck).await {
        Ok(built) => built,
        Err(why) => {
            screen.line(&format!("the diagnosis flavour could not be built: {why}"));
            return;
        }
    };
    for (scenario, checks) in stuck {
        let Some(program) = built.programs.get(&scenario.hidden_package()) else {
            screen.line(&format!(
                "the diagnosis flavour of {} could not be built:\n{}",
                scenario.id,
                built.diagnostics.trim_end()
            ));
            continue;
        };
        let asked: Vec<&CheckSpec> = checks.iter().take(CHECKS_MAX).copied().collect();
        let runs = asked
            .iter()
            .map(|spec| again(plan, room, fleet, scenario, program, spec));
        for (spec, told) in asked.iter().zip(futures_util::future::join_all(runs).await) {
            screen.diagnosis(&spec.name, &words(told));
        }
    }
}

async fn build(
    plan: &Plan,
    screen: &Screen,
    room: &Room,
    target: &Path,
    slugs: &[&str],
    stuck: &[(&Scenario, Vec<&CheckSpec>)],
) -> Result<Built, String> {
    for (scenario, _) in stuck {
        let solution = format!("{}-solution", scenario.slug);
        stale::refresh(target, &scenario.slug, &room.exercise(scenario))
            .map_err(|error| error.to_string())?;
        stale::refresh(target, &solution, &scenario.solution).map_err(|error| error.to_string())?;
    }
    let say = |step: &Step| screen.compiling(step);
    let built = compile::build_flavour(Flavour::Diagnosis, &room.root, target, slugs, plan.side, &say).await;
    screen.end(Lane::Build);
    let built = built.map_err(|error| error.to_string())?;
    for (scenario, _) in stuck {
        stale::remember(target, &scenario.slug, &room.exercise(scenario))
            .map_err(|error| error.to_string())?;
    }
    Ok(built)
}

async fn again(
    plan: &Plan,
    room: &Room,
    fleet: &Fleet,
    scenario: &Scenario,
    program: &Path,
    spec: &CheckSpec,
) -> Result<Told, String> {
    let tests = compile::checks_of(program)
        .await
        .map_err(|error| error.to_string())?;
    let test = tests.get(&spec.name).ok_or("it is not there")?;
    let postgres = fleet.postgres_job(scenario);
    let database = postgres.as_ref().map(|job| job.database.clone());
    let lender = Lender::new(fleet, scenario);
    let told = child::run(Ask {
        program,
        test,
        folder: &room.exercise(scenario),
        seed: plan.seed,
        sites: false,
        postgres,
        lender: &lender,
    })
    .await;
    lender.take_back().await;
    if let Some(database) = database {
        fleet.drop_database(&database).await;
    }
    Ok(told)
}

fn words(told: Result<Told, String>) -> Vec<String> {
    match told {
        Ok(told) if told.stuck => {
            let mut lines = vec![told.judgement.observed];
            lines.extend(told.judgement.evidence);
            lines
        }
        Ok(told) => vec![format!(
            "it was not stuck this time: {}",
            if told.judgement.observed.is_empty() {
                "it passed"
            } else {
                &told.judgement.observed
            }
        )],
        Err(why) => vec![format!("it could not be run again: {why}")],
    }
}
