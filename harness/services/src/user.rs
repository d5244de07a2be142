//! Whom the servers run as: PostgreSQL and PgBouncer refuse root, so root drops to somebody unprivileged.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Uid, User};

use crate::Error;

/// The user that the servers of this run belong to.
#[derive(Clone, Debug)]
pub(crate) enum Runner {
    /// Ourselves.
    Same,
    /// Somebody unprivileged, since we are root.
    Dropped { name: String, uid: u32, gid: u32 },
}

impl Runner {
    /// `postgres` or else `nobody` for root, ourselves for everybody else.
    pub(crate) fn choose() -> Result<Runner, Error> {
        if !Uid::effective().is_root() {
            return Ok(Runner::Same);
        }
        for name in ["postgres", "nobody"] {
            if let Ok(Some(user)) = User::from_name(name) {
                let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
                return Ok(Runner::Dropped {
                    name: user.name,
                    uid,
                    gid,
                });
            }
        }
        Err(Error::NobodyToBe)
    }

    /// Makes `command` run as this user.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Runner::Dropped { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
    }

    /// Gives a file or a folder (not what is in it) to this user.
    pub(crate) fn own(&self, path: &Path) -> io::Result<()> {
        match self {
            Runner::Same => Ok(()),
            Runner::Dropped { uid, gid, .. } => std::os::unix::fs::lchown(path, Some(*uid), Some(*gid)),
        }
    }

    /// Makes a folder that only this user can look into.
    pub(crate) fn private_folder(&self, path: &Path) -> Result<(), Error> {
        let make = || {
            fs::create_dir_all(path)?;
            fs::set_permissions(path, Permissions::from_mode(0o700))?;
            self.own(path)
        };
        make().map_err(|source| Error::folder(path, "make", source))?;
        self.can_reach(path)
    }

    /// Whether this user may walk down to `path`.
    pub(crate) fn can_reach(&self, path: &Path) -> Result<(), Error> {
        let Runner::Dropped { name, uid, gid } = self else {
            return Ok(());
        };
        match blocked_at(path, *uid, *gid) {
            None => Ok(()),
            Some(blocked) => {
                let (folder, user) = (path.to_path_buf(), name.clone());
                Err(Error::OutOfReach {
                    folder,
                    blocked,
                    user,
                })
            }
        }
    }
}

/// The first folder on the way to `path` that the user may not enter.
fn blocked_at(path: &Path, uid: u32, gid: u32) -> Option<PathBuf> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
    folders.reverse();
    folders
        .into_iter()
        .find(|folder| !may_enter(folder, uid, gid))
        .map(Path::to_path_buf)
}

fn may_enter(folder: &Path, uid: u32, gid: u32) -> bool {
    // A relative path starts at "", which is where we are; what cannot be looked at is not judged.
    let Ok(meta) = fs::metadata(folder) else {
        return true;
    };
    let bit = if meta.uid() == uid {
        0o100
    } else if meta.gid() == gid {
        0o010
    } else {
        0o001
    };
    meta.mode() & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        let (closed, inner) = (root.path().join("closed"), root.path().join("closed/inner"));
        fs::create_dir_all(&inner).unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        assert_eq!(blocked_at(&inner, 4_000_000, 4_000_000), Some(closed.clone()));
        fs::set_permissions(&closed, Permissions::from_mode(0o711)).unwrap();
        assert_eq!(blocked_at(&inner, 4_000_000, 4_000_000), None);
    }

    #[test]
    fn root_drops_and_others_stay() {
        match Runner::choose().unwrap() {
            Runner::Same => assert!(!Uid::effective().is_root()),
            Runner::Dropped { uid, .. } => assert!(Uid::effective().is_root() && uid != 0),
        }
    }
}
