//! The service with less memory than it wants: in a container with a limit, started again whenever it is killed, as an
//! orchestrator does it.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use services::{End, Limited, LimitedProgram, Options};
use tokio::net::{UnixListener, UnixStream};

use super::{Watching, converse, job, words};
use crate::catalogue::Scenario;
use crate::errors::Error;
use crate::fleet::Fleet;
use crate::lend::Lender;

/// Between an end and the next start.
const BACK_OFF: Duration = Duration::from_secs(1);

/// Runs the program until its time is over, as often as it takes.
pub(super) async fn watch(
    fleet: &Fleet,
    scenario: &Scenario,
    program: &Path,
    watching: &Watching<'_>,
    memory_bytes: u64,
) -> anyhow::Result<ExitStatus> {
    if let Some(service) = scenario.manifest.services.first() {
        return Err(Error::Usage {
            what: format!(
                "{} needs {service}, and only a service that needs no server is given a memory limit",
                scenario.id
            ),
            next: format!("cargo xtask incident {}", scenario.number()),
        }
        .into());
    }
    let port = match watching.port {
        0 => TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
        port => port,
    };
    let folder = tempfile::tempdir()?;
    let begun = Instant::now();
    let mut ends: Vec<End> = Vec::new();
    loop {
        let left = watching.lasts.saturating_sub(begun.elapsed());
        if left < Duration::from_secs(1) {
            break;
        }
        let started = Instant::now();
        let watching = Watching {
            lasts: left,
            port,
            ..*watching
        };
        let place = Place {
            program,
            folder: folder.path(),
            memory_bytes,
        };
        let end = once(fleet, scenario, &place, &watching, &ends).await?;
        let ran = started.elapsed();
        if end.exit_code == 0 {
            break;
        }
        println!("killed after {:.0} s: {end}", ran.as_secs_f64());
        if !end.oom_killed {
            return Err(Error::Environment {
                what: format!("the service's container ended with {end}, and not for want of memory"),
                next: format!("cargo xtask incident {} without --memory", scenario.number()),
            }
            .into());
        }
        ends.push(end);
        tokio::time::sleep(BACK_OFF).await;
    }
    match ends.last() {
        Some(end) => println!("{} restarts; the last container ended with {end}", ends.len()),
        None => println!("no restarts in {:.0} s", begun.elapsed().as_secs_f64()),
    }
    Ok(ExitStatus::from_raw(0))
}

struct Place<'a> {
    program: &'a Path,
    /// Where the pipe is.
    folder: &'a Path,
    memory_bytes: u64,
}

async fn once(
    fleet: &Fleet,
    scenario: &Scenario,
    place: &Place<'_>,
    watching: &Watching<'_>,
    ends: &[End],
) -> anyhow::Result<End> {
    let pipe = place.folder.join("pipe");
    std::fs::remove_file(&pipe).ok();
    let listener = UnixListener::bind(&pipe)?;
    let mut arguments = words(watching)?;
    arguments.extend(["--pipe".to_owned(), pipe.display().to_string()]);
    if let Some(end) = ends.last() {
        arguments.extend(["--restarts".to_owned(), ends.len().to_string()]);
        arguments.extend(["--ended".to_owned(), end.to_string()]);
    }
    let mut folders: Vec<PathBuf> = vec![place.folder.to_owned()];
    if let Some(keep) = watching.keep {
        std::fs::create_dir_all(keep)?;
        folders.push(std::path::absolute(keep)?);
    }
    let program = LimitedProgram {
        program: place.program.to_owned(),
        arguments,
        folders,
        memory_bytes: place.memory_bytes,
    };
    let options = Options::default();
    let limited = Limited::start(&program, &options).await;
    let limited = limited.map_err(|reason| Error::Environment {
        what: format!("a memory limit needs a container, and there is none: {reason}"),
        next: "start a container daemon (Debian: apt-get install docker.io), or leave --memory away"
            .to_owned(),
    })?;
    let job = job(fleet, scenario, watching.seed);
    let lender = Lender::new(fleet, scenario);
    let told = limited.follow(|text| {
        let mut out = std::io::stdout().lock();
        out.write_all(text).and_then(|()| out.flush()).ok();
    });
    let conversed = async {
        let ended = async {
            let (_, end) = tokio::join!(told, limited.end());
            end
        };
        let mut ended = std::pin::pin!(ended);
        // One that dies at once asks for nothing.
        let accepted: Option<UnixStream> = tokio::select! {
            accepted = listener.accept() => Some(accepted?.0),
            end = &mut ended => return anyhow::Ok(end),
        };
        match accepted {
            Some(pipe) => converse(pipe, &job, &lender, ended).await,
            None => Ok(ended.await),
        }
    };
    let end = conversed.await;
    lender.take_back().await;
    end?.map_err(|reason| {
        Error::Environment {
            what: format!("the container daemon does not tell how the service ended: {reason}"),
            next: "cargo xtask doctor".to_owned(),
        }
        .into()
    })
}
