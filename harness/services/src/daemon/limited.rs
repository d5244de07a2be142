//! A program of this machine with a memory limit: in a container of which nothing but the limit is wanted. Its image has no
//! files at all, and no registry is asked for it; the program finds this machine's own libraries, and its network.

use std::fmt;
use std::path::PathBuf;

use super::*;
use crate::background;

/// The image that has no files.
const NOTHING: &str = "war-stories-nothing";
/// An archive without entries: two blocks of zeros.
const NO_FILES: [u8; 1024] = [0; 1024];
/// Where the linker and the libraries are; not every machine has all of them.
const SYSTEM: [&str; 4] = ["/usr", "/lib", "/lib64", "/bin"];

/// What runs, and how.
#[derive(Clone, Debug)]
pub struct LimitedProgram {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Folders that the program may write into, under the same names.
    pub folders: Vec<PathBuf>,
    pub memory_bytes: u64,
}

/// A running program. Dropping it ends the program and removes the container.
#[derive(Debug)]
pub struct Limited {
    daemon: Daemon,
    id: String,
}

/// What a program ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub exit_code: i64,
    /// The container runtime's own word for why.
    pub oom_killed: bool,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = if self.oom_killed { "OOMKilled, " } else { "" };
        write!(f, "{reason}exit {}", self.exit_code)
    }
}

impl Limited {
    /// # Errors
    /// Why there is no such container, as a fragment: no daemon, one that is elsewhere, one that sets no limits.
    pub async fn start(program: &LimitedProgram, options: &Options) -> Result<Limited, String> {
        let (program, options) = (program.clone(), options.clone());
        background::run(async move {
            let daemon = Daemon::connect(&options).await?;
            daemon.sweep(&options, None).await;
            if daemon.image_id(NOTHING).await.is_none() {
                daemon.import_nothing().await?;
            }
            let request = request(&program, &options);
            let made = daemon.ask("POST", "/containers/create", Some(&request)).await?;
            let id = text(&made, "/Id").ok_or("the daemon gave the container no number")?;
            // From here on dropping it removes the container.
            let limited = Limited { daemon, id };
            let path = format!("/containers/{}/start", escaped(&limited.id));
            limited.daemon.ask("POST", &path, None).await?;
            Ok(limited)
        })
        .await
    }

    /// Tells what the program prints, as it comes, until it has ended.
    ///
    /// # Errors
    /// The daemon does not answer any more.
    pub async fn follow(&self, mut hear: impl FnMut(&[u8])) -> Result<(), String> {
        let path = format!(
            "{}/containers/{}/logs?follow=true&stdout=true&stderr=true",
            self.daemon.api,
            escaped(&self.id)
        );
        let told = async {
            let mut answer = http::send(&self.daemon.place, "GET", &path, &[], None).await?;
            while let Some(piece) = answer.piece().await? {
                hear(&piece);
            }
            Ok::<_, std::io::Error>(())
        };
        told.await.map_err(|error| error.to_string())
    }

    /// Waits for the program's end, however long that takes.
    ///
    /// # Errors
    /// The daemon does not answer any more.
    pub async fn end(&self) -> Result<End, String> {
        let path = format!("{}/containers/{}/wait", self.daemon.api, escaped(&self.id));
        let waited = async {
            let mut answer = http::send(&self.daemon.place, "POST", &path, &[], None).await?;
            answer.body().await
        };
        waited.await.map_err(|error| error.to_string())?;
        let seen = self.daemon.inspect(&self.id).await?;
        let code = seen.pointer("/State/ExitCode").and_then(Value::as_i64);
        let oom_killed = seen.pointer("/State/OOMKilled").and_then(Value::as_bool);
        Ok(End {
            exit_code: code.unwrap_or(-1),
            oom_killed: oom_killed == Some(true),
        })
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let (daemon, id) = (self.daemon.clone(), self.id.clone());
        background::wait(async move {
            daemon.remove_container(&id).await;
            // One that somebody else uses at this moment stays.
            daemon
                .ask("DELETE", &format!("/images/{NOTHING}"), None)
                .await
                .ok();
        });
    }
}

impl Daemon {
    async fn import_nothing(&self) -> Result<(), String> {
        let path = format!("{}/images/create?fromSrc=-&repo={NOTHING}&tag=latest", self.api);
        let headers = [("Content-Type", "application/x-tar")];
        let imported = async {
            let mut answer = http::send_bytes(&self.place, "POST", &path, &headers, &NO_FILES).await?;
            let body = answer.body().await?;
            Ok::<_, std::io::Error>((answer.status, body))
        };
        match imported.await {
            Ok((status, body)) if status >= 400 => Err(http::refusal(status, &body)),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn request(program: &LimitedProgram, options: &Options) -> Value {
    let read_only = SYSTEM
        .iter()
        .filter(|folder| std::path::Path::new(folder).is_dir());
    let mut binds: Vec<String> = read_only.map(|folder| format!("{folder}:{folder}:ro")).collect();
    binds.push(format!("{0}:{0}:ro", program.program.display()));
    let folders = program.folders.iter();
    binds.extend(folders.map(|folder| format!("{0}:{0}", folder.display())));
    let command: Vec<String> = std::iter::once(program.program.display().to_string())
        .chain(program.arguments.iter().cloned())
        .collect();
    json!({
        "Image": NOTHING,
        "Cmd": command,
        "User": format!("{}:{}", nix::unistd::getuid(), nix::unistd::getgid()),
        "Labels": labels(options),
        // One stream, as the program writes it.
        "Tty": true,
        "HostConfig": {
            "NetworkMode": "host",
            "Binds": binds,
            "Memory": program.memory_bytes,
            "MemorySwap": program.memory_bytes,
        },
    })
}
