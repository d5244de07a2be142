//! What a run has to its name: one small file per server, so that a later run can tell what belonged to a dead one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use crate::kind::Kind;
use crate::options::Options;
use crate::owner::{Life, Owner};
use crate::user::Runner;
use crate::{Error, folder};

/// A server, or the making of a cached cluster, as its run wrote it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    /// The process that started it.
    pub(crate) owner: Owner,
    /// Left running on purpose: its owner's end means nothing.
    pub(crate) detached: bool,
    /// Its temporary data.
    pub(crate) data: PathBuf,
    /// The server itself, when it is a process of this machine.
    pub(crate) process: Option<Owner>,
    /// The container's number, when it is one.
    pub(crate) container: Option<String>,
    /// Where this is written.
    pub(crate) file: PathBuf,
}

impl Record {
    /// Makes the data folder of a new server and writes down whose it is, before anything can go wrong with it.
    pub(crate) fn open(kind: Kind, options: &Options, runner: &Runner) -> Result<Record, Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let owner = Owner::this().clone();
        let folder = options.cache_dir.join("runs").join(owner.to_string());
        // The owner's name is part of the folder's: a run folder may be shared.
        let data = options.run_dir.join(format!("{kind}-{number}-{}", owner.pid));
        let file = folder.join(format!("{kind}-{number}.json"));
        for folder in [&folder, &options.run_dir] {
            fs::create_dir_all(folder).map_err(|source| Error::folder(folder, "make", source))?;
        }
        let record = Record {
            kind,
            owner,
            detached: false,
            data,
            process: None,
            container: None,
            file,
        };
        let written = record.write().and_then(|()| runner.private_folder(&record.data));
        match written {
            Ok(()) => Ok(record),
            Err(error) => {
                record.close();
                Err(error)
            }
        }
    }

    pub(crate) fn write(&self) -> Result<(), Error> {
        let text = serde_json::to_vec(self).expect("a record is plain data");
        // Renamed into place: a reader never sees half of it.
        let half = self.file.with_extension("half");
        let write = || fs::write(&half, text).and_then(|()| fs::rename(&half, &self.file));
        write().map_err(|source| Error::folder(&self.file, "write", source))
    }

    /// Removes the data folder, then the record of it.
    pub(crate) fn close(&self) {
        if folder::remove(&self.data).is_ok() {
            let _ = folder::remove(&self.file);
            // The last one out removes the run's folders; they are left when something is in them.
            for folder in [self.data.parent(), self.file.parent()].into_iter().flatten() {
                let _ = fs::remove_dir(folder);
            }
        }
    }

    /// Removes the folders of dead runs beside this one's that hold nothing: a run may be killed after it has made its
    /// folder and before it has written down that it has.
    pub(crate) fn remove_empty_runs(options: &Options) {
        let runs = options.run_dir.parent().map(fs::read_dir);
        for run in runs.into_iter().flatten().flatten().flatten() {
            let name = run.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix("war-stories-"));
            let owner = owner.and_then(|words| words.parse::<Owner>().ok());
            if owner.is_some_and(|owner| owner.life() == Life::Dead) {
                // Fails when something is in it, which then has a record.
                let _ = fs::remove_dir(run.path());
            }
        }
    }

    /// Whether nobody will come back for it.
    pub(crate) fn abandoned(&self) -> bool {
        if !self.detached {
            return self.owner.life() == Life::Dead;
        }
        // A container that was left running is judged by the daemon.
        self.process
            .as_ref()
            .is_some_and(|process| process.life() == Life::Dead)
    }

    /// All records in a cache, with those that cannot be read left out.
    pub(crate) fn all(cache: &Path) -> Vec<Record> {
        let list = |folder: &Path| {
            fs::read_dir(folder)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
        };
        let files = list(&cache.join("runs")).flat_map(|run| list(&run).collect::<Vec<_>>());
        let records = files.filter(|file| file.extension().is_some_and(|extension| extension == "json"));
        records.filter_map(|file| Record::read(&file)).collect()
    }

    fn read(file: &Path) -> Option<Record> {
        let mut record: Record = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        record.file = file.to_path_buf();
        Some(record)
    }
}
