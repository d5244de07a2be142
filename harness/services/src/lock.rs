//! Locks on parts of the cache. The kernel gives a lock back when its holder dies, so none is ever stale.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use crate::Error;
use crate::options::Options;

/// A lock on a folder of the cache; given back on drop.
#[must_use = "a lock that is dropped at once protects nothing"]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// For those who change what is in `folder`. Says so when it has to wait for another run.
    pub(crate) fn to_change(folder: &Path, options: &Options, who: &str) -> Result<Lock, Error> {
        let file = open(folder)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            options.say(format!("waiting for another run that {who}"));
            file.lock()
                .map_err(|source| Error::folder(folder, "lock", source))?;
        }
        Ok(Lock { _file: file })
    }

    /// For those who copy from `folder`.
    pub(crate) fn to_read(folder: &Path, options: &Options, who: &str) -> Result<Lock, Error> {
        let file = open(folder)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
            options.say(format!("waiting for another run that {who}"));
            file.lock_shared()
                .map_err(|source| Error::folder(folder, "lock", source))?;
        }
        Ok(Lock { _file: file })
    }
}

fn open(folder: &Path) -> Result<File, Error> {
    let path = folder.join(".lock");
    let open = || {
        fs::create_dir_all(folder)?;
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
    };
    open().map_err(|source| Error::folder(&path, "open", source))
}
