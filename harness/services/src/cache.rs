//! What is kept on purpose, and how to be rid of it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::daemon::Daemon;
use crate::lock::Lock;
use crate::options::Options;
use crate::postgres::cluster;
use crate::{Error, background, folder};

/// The parts of a cache that [`purge`] removes; `runs` is not among them, since it belongs to the living.
const PARTS: &[&str] = &["clusters", "fetched", "apt", "pulls"];

/// Something in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Folder, or the name of a container volume.
    pub path: PathBuf,
    /// What it is, for people.
    pub what: String,
    /// Size; `None` for a container volume, whose size only the daemon could tell.
    pub bytes: Option<u64>,
}

/// What [`purge`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Folders and volumes.
    pub entries: usize,
    /// Bytes of the folders.
    pub bytes: u64,
}

/// All that is in a cache, largest parts apart.
pub(crate) fn entries(options: &Options) -> Vec<Entry> {
    let cache = &options.cache_dir;
    let folder = |path: PathBuf, what: String| {
        let bytes = Some(folder::bytes(&path));
        Entry { path, what, bytes }
    };
    let mut entries = Vec::new();
    for (path, about) in cluster::list(&cache.join("clusters")) {
        let names: Vec<&str> = about.templates.keys().map(String::as_str).collect();
        let what = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        entries.push(folder(path, format!("PostgreSQL cluster, templates: {what}")));
    }
    for name in list(&cache.join("fetched")) {
        let what = format!(
            "fetched packages: {}",
            name.file_name().unwrap_or_default().to_string_lossy()
        );
        entries.push(folder(name, what));
    }
    let index = cache.join("apt");
    if index.is_dir() {
        entries.push(folder(index, "index of the distribution's packages".to_owned()));
    }
    let volumes = background::wait({
        let options = options.clone();
        async move {
            match Daemon::connect(&options).await {
                Ok(daemon) => daemon.volumes(&options).await,
                Err(_) => Vec::new(),
            }
        }
    });
    let volume = |name: String| Entry {
        path: name.into(),
        what: "PostgreSQL cluster, container volume".into(),
        bytes: None,
    };
    entries.extend(volumes.into_iter().map(volume));
    entries
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// Removes all that is kept on purpose: seeded clusters (container volumes too), fetched packages, the index. Waits for
/// runs that are copying from it. Servers that run are not touched; they work on copies.
///
/// Blocks; not to be called from asynchronous code.
///
/// # Errors
/// [`Error::Folder`] with what cannot be removed.
pub fn purge(cache: &Path) -> Result<Purged, Error> {
    let options = Options::with_cache(cache);
    let mut purged = Purged::default();
    for entry in entries(&options) {
        purged.entries += 1;
        purged.bytes += entry.bytes.unwrap_or(0);
    }
    for part in PARTS {
        let path = cache.join(part);
        if !path.is_dir() {
            continue;
        }
        let _lock = Lock::to_change(&path, &options, "uses the cache")?;
        folder::remove(&path).map_err(|source| Error::folder(&path, "remove", source))?;
    }
    background::wait(async move {
        if let Ok(daemon) = Daemon::connect(&options).await {
            for volume in daemon.volumes(&options).await {
                daemon.remove_volume(&volume).await;
            }
        }
    });
    Ok(purged)
}
