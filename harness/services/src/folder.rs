//! Folders: copying, measuring, removing.

use std::fs;
use std::io;
use std::path::Path;

use crate::user::Runner;

/// Copies a folder with all that is in it, sharing blocks where the file system can (`copy_file_range` on Linux,
/// `clonefile` on macOS), and gives the copy to `runner`. Special files are left out. Returns the bytes copied.
pub(crate) fn copy(from: &Path, to: &Path, runner: &Runner) -> io::Result<u64> {
    fs::create_dir_all(to)?;
    let mut bytes = 0;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            bytes += copy(&entry.path(), &target, runner)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
            runner.own(&target)?;
        } else if kind.is_file() {
            bytes += fs::copy(entry.path(), &target)?;
            runner.own(&target)?;
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    runner.own(to)?;
    Ok(bytes)
}

/// The bytes of all files in a folder, or of one file; 0 when it is not there.
pub(crate) fn bytes(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !meta.is_dir() {
        return meta.len();
    }
    fs::read_dir(path)
        .map(|entries| entries.flatten().map(|entry| bytes(&entry.path())).sum())
        .unwrap_or(0)
}

/// Free bytes for us on the disk that holds `path`, or will hold it.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    let stat = nix::sys::statvfs::statvfs(there).ok()?;
    // The fields' widths differ between systems.
    #[allow(clippy::unnecessary_cast, reason = "u32 on macOS, u64 on Linux")]
    Some(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

/// Removes a folder or file; what is not there is removed already.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_copy_has_the_same_files_rights_and_links() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join("inner")).unwrap();
        fs::write(from.join("inner/file"), "twelve bytes").unwrap();
        fs::set_permissions(from.join("inner/file"), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("inner/file", from.join("link")).unwrap();

        assert_eq!(copy(&from, &to, &Runner::Same).unwrap(), 12);
        assert_eq!(fs::read_to_string(to.join("link")).unwrap(), "twelve bytes");
        assert_eq!(
            fs::metadata(to.join("inner/file")).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(bytes(&to) >= 12 && free_bytes(&to.join("not/yet")).unwrap() > 0);
        remove(&to).unwrap();
        remove(&to).unwrap();
        assert_eq!(bytes(&to), 0);
    }
}
