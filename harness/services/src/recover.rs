//! Removing what dead runs left: only what is written down as theirs, and only when they are surely dead.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::daemon::Daemon;
use crate::kind::Kind;
use crate::options::Options;
use crate::owner::Owner;
use crate::record::Record;
use crate::{background, running};

/// What was found and removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Servers whose run died, by kind, with their data.
    pub servers: Vec<Kind>,
    /// Containers and volumes that carry a dead run's label.
    pub containers: usize,
}

/// Removes what belongs to dead owners: processes (of systems without a parent-death signal), data folders, half-made
/// cache entries, containers and volumes that carry our label and this cache's. What lives elsewhere, was left running
/// on purpose and still runs, or carries another cache's label, is not touched.
///
/// [`start`](crate::start) does this once per process.
pub async fn recover(options: &Options) -> Recovered {
    let options = options.clone();
    background::run(async move { sweep(&options, None).await }).await
}

/// Removes what this process has started and not left running, as [`recover`] removes it for the dead: for a program
/// that was interrupted while servers were being started, and ends now. What it holds is dropped before.
pub async fn abandon(options: &Options) {
    let options = options.clone();
    background::run(async move { sweep(&options, Some(Owner::this())).await }).await;
}

/// Does it the first time that a cache is used by this process.
pub(crate) async fn once(options: &Options) {
    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let first = SWEPT
        .lock()
        .is_ok_and(|mut swept| swept.insert(options.cache_dir.clone()));
    if first {
        sweep(options, None).await;
    }
}

/// Of dead owners, and of `too`.
async fn sweep(options: &Options, too: Option<&Owner>) -> Recovered {
    let given_up = |record: &Record| !record.detached && Some(&record.owner) == too;
    let abandoned: Vec<Record> = Record::all(&options.cache_dir)
        .into_iter()
        .filter(|record| record.abandoned() || given_up(record))
        .collect();
    let mut recovered = Recovered::default();
    for record in &abandoned {
        background::blocking(|| {
            if let Some(process) = &record.process {
                running::end_stranger(record.kind, process);
            }
            // A container's record goes with the container, below, once the daemon answers.
            if record.container.is_none() {
                record.close();
            }
        });
        recovered.servers.push(record.kind);
    }
    background::blocking(|| Record::remove_empty_runs(options));
    // The daemon is only asked where containers may be: a start without them shall not pay for it.
    let contained = abandoned.iter().any(|record| record.container.is_some());
    if (options.mode.containers() || contained)
        && let Ok(daemon) = Daemon::connect(options).await
    {
        recovered.containers = daemon.sweep(options, too).await;
        abandoned
            .iter()
            .for_each(|record| background::blocking(|| record.close()));
    }
    recovered
}
