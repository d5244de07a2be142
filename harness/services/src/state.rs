//! Servers that were left running for later commands: `services up`, `status`, `down`.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::daemon::Daemon;
use crate::endpoint::Endpoint;
use crate::kind::Kind;
use crate::options::Options;
use crate::owner::Life;
use crate::record::Record;
use crate::server::How;
use crate::{Error, background, running};

/// A server that runs without the process that started it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detached {
    /// Which one.
    pub kind: Kind,
    /// How it was had.
    pub how: How,
    /// Its version.
    pub version: String,
    /// Where it answers.
    pub endpoint: Endpoint,
    pub(crate) record: Record,
}

impl Detached {
    /// Whether it runs and answers. A process that has the old one's number, and a stranger on its port, are not it.
    pub async fn is_alive(&self) -> bool {
        if self
            .record
            .process
            .as_ref()
            .is_some_and(|process| process.life() == Life::Dead)
        {
            return false;
        }
        let endpoint = self.endpoint.clone();
        background::run(async move { endpoint.probe().await })
            .await
            .is_ok()
    }

    /// Ends it and removes its data; one that is dead already leaves only data to remove.
    pub async fn stop(self, options: &Options) {
        let options = options.clone();
        background::run(async move {
            if let Some(process) = &self.record.process {
                background::blocking(|| running::end_stranger(self.kind, process));
            }
            if let Some(id) = &self.record.container
                && let Ok(daemon) = Daemon::connect(&options).await
            {
                daemon.remove_container(id).await;
            }
            background::blocking(|| self.record.close());
        })
        .await;
    }
}

/// The servers that are left running, as a file tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// In the order in which they were started.
    pub servers: Vec<Detached>,
}

impl State {
    /// Reads the file; one that is not there names no servers.
    ///
    /// # Errors
    /// [`Error::State`] when it holds something else, [`Error::Folder`] when it cannot be read.
    pub fn load(path: &Path) -> Result<State, Error> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(source) => return Err(Error::folder(path, "read", source)),
        };
        let broken = |error: serde_json::Error| Error::State {
            path: path.to_path_buf(),
            reason: error.to_string(),
        };
        serde_json::from_slice(&text).map_err(broken)
    }

    /// Writes the file whole or not at all, for its owner's eyes only, since it holds passwords. Without servers the
    /// file is removed.
    ///
    /// # Errors
    /// [`Error::Folder`] when it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        use std::os::unix::fs::OpenOptionsExt;
        if self.servers.is_empty() {
            return crate::folder::remove(path).map_err(|source| Error::folder(path, "remove", source));
        }
        let text = serde_json::to_vec_pretty(self).expect("plain data");
        let half = path.with_extension("half");
        let write = || {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let _ = fs::remove_file(&half);
            let mut file = fs::File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&half)?;
            io::Write::write_all(&mut file, &text)?;
            fs::rename(&half, path)
        };
        write().map_err(|source| Error::folder(path, "write", source))
    }

    /// Parts the living from the dead: those that answer stay, the data of the others are removed. Returns the dead.
    pub async fn bury(&mut self, options: &Options) -> Vec<Kind> {
        let mut dead = Vec::new();
        for server in std::mem::take(&mut self.servers) {
            if server.is_alive().await {
                self.servers.push(server);
            } else {
                dead.push(server.kind);
                server.stop(options).await;
            }
        }
        dead
    }

    /// Ends all of them, the last one first.
    pub async fn stop(&mut self, options: &Options) {
        while let Some(server) = self.servers.pop() {
            server.stop(options).await;
        }
    }

    /// The endpoint of `kind`, when it is among them.
    pub fn endpoint(&self, kind: Kind) -> Option<&Endpoint> {
        self.servers
            .iter()
            .map(|server| &server.endpoint)
            .find(|endpoint| endpoint.kind() == kind)
    }
}
