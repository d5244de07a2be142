//! `cargo xtask incident`: the service as it is, under traffic, with what an engineer on call would look at it with.
//!
//! The program is the hidden crate's own, built into a target folder beside the grade's: another build flavour, and what
//! is watched is never taken for what is graded. It is given servers by the same pipe as a check, and tells the terminal
//! itself what there is to see.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use services::process::{Signal, end_with_parent};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;
use verdict::ExitCode;
use verdict::wire::{Event, Job, Line, VERSION};

use crate::catalogue::{self, Scenario};
use crate::compile::{self, Flavour, Side};
use crate::errors::Error;
use crate::flags::{Format, Incident};
use crate::fleet::Fleet;
use crate::heard::Step;
use crate::lanes::Lane;
use crate::lend::Lender;
use crate::stale;
use crate::terminal::Screen;
use crate::workbook::Workbook;

pub async fn run(workbook: &Workbook, flags: &Incident) -> anyhow::Result<ExitCode> {
    let scenario = catalogue::one(workbook, &flags.scenario)?;
    if !scenario.exercise.join("hidden/src/bin/incident.rs").is_file() {
        return Err(usage(
            format!("{} has no traffic to be watched yet", scenario.id),
            format!("read exercises/{}/README.md", scenario.id),
        ));
    }
    if let Some(limit) = &flags.memory {
        return Err(usage(
            format!("a service cannot be given {limit} of memory yet: it would have to run in a container"),
            format!("cargo xtask incident {}", scenario.number()),
        ));
    }
    let screen = Screen::new(Format::Text);
    let side = match flags.reference {
        true => Side::Reference,
        false => Side::Exercise,
    };
    let scenarios = [scenario];
    let [scenario] = &scenarios;
    let say = |line: &str| screen.doing(line);
    let fleet = Fleet::start(workbook, &scenarios, flags.services, &say).await?;
    for service in &fleet.told {
        screen.service(service);
    }
    let ended = match build(workbook, scenario, side, &screen).await {
        Ok(Ok(program)) => {
            screen.quiet();
            watch(&fleet, scenario, &program, flags).await.map(Ok)
        }
        Ok(Err(diagnostics)) => Ok(Err(diagnostics)),
        Err(error) => Err(error),
    };
    screen.quiet();
    fleet.stop().await;
    match ended? {
        Ok(status) if status.success() => Ok(ExitCode::Passed),
        Ok(_) => Ok(ExitCode::Environment),
        Err(diagnostics) => {
            eprintln!("{diagnostics}\n{} does not compile", scenario.id);
            Ok(ExitCode::DoesNotCompile)
        }
    }
}

fn usage(what: String, next: String) -> anyhow::Error {
    Error::Usage { what, next }.into()
}

/// The program, or what the compiler said.
async fn build(
    workbook: &Workbook,
    scenario: &Scenario,
    side: Side,
    screen: &Screen,
) -> anyhow::Result<Result<std::path::PathBuf, String>> {
    let target = workbook.workshop().join("incident");
    let solution = format!("{}-solution", scenario.slug);
    stale::refresh(&target, &scenario.slug, &scenario.exercise)?;
    stale::refresh(&target, &solution, &scenario.solution)?;
    let say = |step: &Step| screen.compiling(step);
    let slugs = [scenario.slug.as_str()];
    let built =
        compile::build_flavour(Flavour::Incident, &workbook.root, &target, &slugs, side, &say).await?;
    screen.end(Lane::Build);
    let Some(program) = built.programs.get(&scenario.hidden_package()) else {
        if let Some(trouble) = built.trouble {
            return Err(Error::Environment {
                what: trouble.what.to_owned(),
                next: trouble.next.to_owned(),
            }
            .into());
        }
        return Ok(Err(compile::diagnostics_of(&built.diagnostics, scenario)));
    };
    match side {
        Side::Exercise => stale::remember(&target, &scenario.slug, &scenario.exercise)?,
        Side::Reference => stale::remember(&target, &solution, &scenario.solution)?,
    }
    Ok(Ok(program.clone()))
}

/// Runs the program to its end, and has the servers ready that it asks for.
async fn watch(
    fleet: &Fleet,
    scenario: &Scenario,
    program: &Path,
    flags: &Incident,
) -> anyhow::Result<ExitStatus> {
    let postgres = fleet.postgres_job(scenario);
    let database = postgres.as_ref().map(|job| job.database.clone());
    let job = Job {
        version: VERSION,
        nonce: format!("{:016x}", fastrand::u64(..)),
        seed: flags.seed,
        sites: false,
        postgres,
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let pipe = UnixStream::from_std(ours)?;
    let mut command = std::process::Command::new(program);
    command
        .args(["--for-s", &flags.lasts.as_secs().to_string()])
        .args(["--port", &flags.port.to_string()])
        .current_dir(&scenario.exercise)
        .stdin(Stdio::from(OwnedFd::from(theirs)));
    // Not of the terminal's group: on Ctrl-C this process ends first, and the program with it.
    end_with_parent(&mut command, Signal::SIGTERM);
    let mut child = Command::from(command).kill_on_drop(true).spawn()?;
    let lender = Lender::new(fleet, scenario);
    let status = converse(pipe, &job, &lender, &mut child).await;
    lender.take_back().await;
    if let Some(database) = database {
        fleet.drop_database(&database).await;
    }
    status
}

async fn converse(
    pipe: UnixStream,
    job: &Job,
    lender: &Lender<'_>,
    child: &mut tokio::process::Child,
) -> anyhow::Result<ExitStatus> {
    let (reading, mut writing) = pipe.into_split();
    writing.write_all(&line_of(job)?).await?;
    let mut lines = BufReader::new(reading).lines();
    loop {
        let line = tokio::select! {
            status = child.wait() => return Ok(status?),
            line = lines.next_line() => line?,
        };
        let Some(line) = line else {
            return Ok(child.wait().await?);
        };
        if let Ok(Line {
            event: Event::Wants { wanted },
            ..
        }) = serde_json::from_str(&line)
        {
            writing.write_all(&line_of(&lender.lend(wanted).await)?).await?;
        }
    }
}

fn line_of(value: &impl serde::Serialize) -> anyhow::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
