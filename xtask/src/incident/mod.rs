//! `cargo xtask incident`: the service as it is, under traffic, with what an engineer on call would look at it with.
//!
//! The program is the hidden crate's own, built into a target folder beside the grade's: another build flavour, and what
//! is watched is never taken for what is graded. It is given servers by the same pipe as a check, and tells the terminal
//! itself what there is to see.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

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

mod dashboard;
mod limited;
mod prove;

/// How long somebody watches who did not say how long.
const LASTS: Duration = Duration::from_secs(600);

pub async fn run(workbook: &Workbook, flags: &Incident) -> anyhow::Result<ExitCode> {
    if flags.prove {
        return prove::run(workbook, flags).await;
    }
    let [scenario] = flags.scenarios.as_slice() else {
        return Err(usage(
            "one scenario is watched at a time".to_owned(),
            "cargo xtask incident 01, or another scenario's number".to_owned(),
        ));
    };
    let scenario = catalogue::one(workbook, scenario)?;
    if !has_traffic(&scenario) {
        return Err(usage(
            format!("{} has no traffic to be watched yet", scenario.id),
            format!("read exercises/{}/README.md", scenario.id),
        ));
    }
    let screen = Screen::new(Format::Text);
    let side = match flags.reference {
        true => Side::Reference,
        false => Side::Exercise,
    };
    let watching = Watching {
        lasts: flags.lasts.unwrap_or(LASTS),
        seed: flags.seed,
        port: flags.port,
        keep: flags.keep.as_deref(),
        told: true,
        watched: !flags.unwatched,
    };
    let scenarios = [scenario];
    let [scenario] = &scenarios;
    let say = |line: &str| screen.doing(line);
    let fleet = Fleet::start(workbook, &scenarios, flags.services, &say).await?;
    for service in &fleet.told {
        screen.service(service);
    }
    let ended = match build(workbook, &scenarios, side, &screen).await {
        Ok(mut built) => match built.remove(&scenario.id) {
            Some(Ok(program)) => {
                screen.quiet();
                match &flags.memory {
                    Some(limit) => limited::watch(&fleet, scenario, &program, &watching, *limit).await,
                    None => watch(&fleet, scenario, &program, &watching).await,
                }
                .map(Ok)
            }
            Some(Err(diagnostics)) => Ok(Err(diagnostics)),
            None => Ok(Err(String::new())),
        },
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

fn has_traffic(scenario: &Scenario) -> bool {
    scenario.exercise.join("hidden/src/bin/incident.rs").is_file()
}

/// How a service is watched.
struct Watching<'a> {
    lasts: Duration,
    seed: u64,
    port: u16,
    keep: Option<&'a Path>,
    /// Whether the program tells the terminal what there is to see.
    told: bool,
    /// Off, nothing looks at the service.
    watched: bool,
}

fn usage(what: String, next: String) -> anyhow::Error {
    Error::Usage { what, next }.into()
}

/// The programs by scenario, or what the compiler said of them.
async fn build(
    workbook: &Workbook,
    scenarios: &[Scenario],
    side: Side,
    screen: &Screen,
) -> anyhow::Result<BTreeMap<String, Result<PathBuf, String>>> {
    let target = workbook.workshop().join("incident");
    for scenario in scenarios {
        stale::refresh(&target, &scenario.slug, &scenario.exercise)?;
        stale::refresh(
            &target,
            &format!("{}-solution", scenario.slug),
            &scenario.solution,
        )?;
    }
    let say = |step: &Step| screen.compiling(step);
    let slugs: Vec<&str> = scenarios.iter().map(|scenario| scenario.slug.as_str()).collect();
    let built =
        compile::build_flavour(Flavour::Incident, &workbook.root, &target, &slugs, side, &say).await?;
    screen.end(Lane::Build);
    let mut programs = BTreeMap::new();
    for scenario in scenarios {
        let made = match (built.programs.get(&scenario.hidden_package()), &built.trouble) {
            (Some(program), _) => Ok(program.clone()),
            (None, Some(trouble)) => {
                return Err(Error::Environment {
                    what: trouble.what.to_owned(),
                    next: trouble.next.to_owned(),
                }
                .into());
            }
            (None, None) => Err(compile::diagnostics_of(&built.diagnostics, scenario)),
        };
        if made.is_ok() {
            match side {
                Side::Exercise => stale::remember(&target, &scenario.slug, &scenario.exercise)?,
                Side::Reference => {
                    let solution = format!("{}-solution", scenario.slug);
                    stale::remember(&target, &solution, &scenario.solution)?;
                }
            }
        }
        programs.insert(scenario.id.clone(), made);
    }
    Ok(programs)
}

/// Runs the program to its end, and has the servers ready that it asks for.
async fn watch(
    fleet: &Fleet,
    scenario: &Scenario,
    program: &Path,
    watching: &Watching<'_>,
) -> anyhow::Result<ExitStatus> {
    let job = job(fleet, scenario, watching.seed);
    let database = job.postgres.as_ref().map(|job| job.database.clone());
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let pipe = UnixStream::from_std(ours)?;
    let mut command = std::process::Command::new(program);
    command
        .args(words(watching)?)
        .current_dir(&scenario.exercise)
        .stdin(Stdio::from(OwnedFd::from(theirs)));
    if !watching.told {
        command.stdout(Stdio::null());
    }
    // Not of the terminal's group: on Ctrl-C this process ends first, and the program with it.
    end_with_parent(&mut command, Signal::SIGTERM);
    let mut child = Command::from(command).kill_on_drop(true).spawn()?;
    let lender = Lender::new(fleet, scenario);
    let status = converse(pipe, &job, &lender, child.wait()).await;
    lender.take_back().await;
    if let Some(database) = database {
        fleet.drop_database(&database).await;
    }
    Ok(status??)
}

fn job(fleet: &Fleet, scenario: &Scenario, seed: u64) -> Job {
    Job {
        version: VERSION,
        nonce: format!("{:016x}", fastrand::u64(..)),
        seed,
        sites: false,
        postgres: fleet.postgres_job(scenario),
    }
}

/// What the program is started with.
fn words(watching: &Watching<'_>) -> anyhow::Result<Vec<String>> {
    let mut words = vec![
        "--for-s".to_owned(),
        watching.lasts.as_secs().to_string(),
        "--port".to_owned(),
        watching.port.to_string(),
    ];
    if !watching.watched {
        words.extend(["--watched", "no"].map(str::to_owned));
    }
    if let Some(folder) = watching.keep {
        let folder = std::path::absolute(folder)?;
        words.extend(["--keep".to_owned(), folder.display().to_string()]);
    }
    Ok(words)
}

/// Answers what the program asks for until it has `ended`.
async fn converse<T>(
    pipe: UnixStream,
    job: &Job,
    lender: &Lender<'_>,
    ended: impl Future<Output = T>,
) -> anyhow::Result<T> {
    let (reading, mut writing) = pipe.into_split();
    writing.write_all(&line_of(job)?).await?;
    let mut lines = BufReader::new(reading).lines();
    let mut ended = std::pin::pin!(ended);
    loop {
        let line = tokio::select! {
            ended = &mut ended => return Ok(ended),
            line = lines.next_line() => line,
        };
        let Ok(Some(line)) = line else {
            return Ok(ended.await);
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
