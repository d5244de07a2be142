//! What cargo cannot see.
//!
//! Cargo decides by modification times whether to compile again. It misses a file that was put back with an old time,
//! and a migration that was added without an edit in Rust, which `sqlx::migrate!` reads as it expands. So the files of
//! a subject are hashed, names included, and where cargo could miss a difference its record of the package is removed.
//! So it is where a workbook was moved together with what was built: what was compiled then names files that are not there.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::errors::Error;

/// What a package was last built from: file → hash of its content.
#[derive(Default, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Stamp {
    /// Where the package lay.
    folder: PathBuf,
    files: BTreeMap<PathBuf, u64>,
    /// Seconds since 1970 when the build had ended.
    built: u64,
}

/// Makes cargo compile `package` again if it could miss that its files differ from what was last built.
pub fn refresh(target: &Path, package: &str, folder: &Path) -> Result<(), Error> {
    let stamp = load(target, package);
    let files = hashes(folder)?;
    let same_names = stamp.files.keys().eq(files.keys());
    let same_place = stamp.folder == folder;
    let built = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(stamp.built);
    let changed: Vec<&PathBuf> = files
        .iter()
        .filter(|(name, hash)| stamp.files.get(*name) != Some(hash))
        .map(|(name, _)| name)
        .collect();
    let newer = |name: &&PathBuf| {
        std::fs::metadata(folder.join(name))
            .and_then(|file| file.modified())
            .is_ok_and(|modified| modified > built)
    };
    let cargo_sees_it = changed.iter().all(newer);
    if !(same_place && same_names && cargo_sees_it) {
        forget(target, package);
    }
    Ok(())
}

/// Remembers what `package` was built from, right after the build.
pub fn remember(target: &Path, package: &str, folder: &Path) -> Result<(), Error> {
    let built = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let stamp = Stamp {
        folder: folder.to_owned(),
        files: hashes(folder)?,
        built,
    };
    let file = stamp_file(target, package);
    let written = file
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&file, serde_json::to_vec(&stamp).unwrap_or_default()));
    written.map_err(|error| Error::Environment {
        what: format!("failed to write {}: {error}", file.display()),
        next: "make room on that disk, or point CARGO_TARGET_DIR elsewhere".to_owned(),
    })
}

/// Removes cargo's fingerprints of a package, which is what makes it stale; what was compiled incrementally stays.
fn forget(target: &Path, package: &str) {
    let fingerprints = target.join("grade").join(".fingerprint");
    for entry in std::fs::read_dir(fingerprints).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.rsplit_once('-').is_some_and(|(of, _hash)| of == package) {
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}

fn stamp_file(target: &Path, package: &str) -> PathBuf {
    target
        .join("war-stories")
        .join("built")
        .join(format!("{package}.json"))
}

fn load(target: &Path, package: &str) -> Stamp {
    let text = std::fs::read(stamp_file(target, package)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The files that end up in the package's library.
fn hashes(folder: &Path) -> Result<BTreeMap<PathBuf, u64>, Error> {
    let mut files = BTreeMap::new();
    let mut left: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|error| Error::slip(folder, format!("failed to list it: {error}")))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            !path.ends_with("hidden")
                && !path.ends_with("tests")
                && !path.ends_with("variants")
                && !path.ends_with("target")
        })
        .collect();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(
                std::fs::read_dir(&path)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path()),
            );
        } else if let (Ok(content), Ok(name)) = (std::fs::read(&path), path.strip_prefix(folder)) {
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write(&content);
            files.insert(name.to_owned(), hasher.finish());
        }
    }
    Ok(files)
}

/// The first file outside `folder` that the compiler read for one of `libraries`, by the dep-info beside them.
pub fn sources_outside(root: &Path, folder: &Path, libraries: &[PathBuf]) -> Option<PathBuf> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    for library in libraries {
        let stem = library.file_stem()?.to_string_lossy().into_owned();
        let dep_info = library.with_file_name(format!("{}.d", stem.strip_prefix("lib").unwrap_or(&stem)));
        let text = std::fs::read_to_string(dep_info).unwrap_or_default();
        for source in sources(&text) {
            let path = root.join(source);
            let real = path.canonicalize().unwrap_or(path);
            if !real.starts_with(&folder) {
                return Some(real);
            }
        }
    }
    None
}

/// Whether one of `libraries` asks the loader to run code before main, where it could meet the check's pipe before the
/// harness does. Looks for the names of the sections that hold such code.
pub fn runs_before_main(libraries: &[PathBuf]) -> bool {
    const SECTIONS: [&[u8]; 4] = [b".init_array", b".preinit_array", b".ctors", b"__mod_init_func"];
    libraries
        .iter()
        .filter(|library| library.extension().is_some_and(|extension| extension == "rlib"))
        .any(|library| {
            let content = std::fs::read(library).unwrap_or_default();
            SECTIONS
                .iter()
                .any(|section| content.windows(section.len()).any(|window| window == *section))
        })
}

/// The sources in a dep-info file: lines `path:` without prerequisites, one per source.
fn sources(dep_info: &str) -> Vec<PathBuf> {
    dep_info
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_suffix(':'))
        .map(|path| PathBuf::from(path.replace("\\ ", " ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dep_info_names_its_sources_one_per_line() {
        let text = "/t/libx.rlib: src/lib.rs /s/a\\ b.rs\n\nsrc/lib.rs:\n/s/a\\ b.rs:\n\n# env-dep:CARGO_MANIFEST_DIR=/w\n";
        assert_eq!(
            sources(text),
            [PathBuf::from("src/lib.rs"), PathBuf::from("/s/a b.rs")]
        );
    }

    #[test]
    fn an_old_modification_time_does_not_hide_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let target = tempfile::tempdir().unwrap();
        let fingerprint = target
            .path()
            .join("grade/.fingerprint/slow-query-0123456789abcdef");
        let other = target
            .path()
            .join("grade/.fingerprint/slow-query-hidden-0123456789abcdef");
        let file = folder.path().join("src/lib.rs");
        std::fs::create_dir_all(folder.path().join("src")).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(&file, "one").unwrap();
        remember(target.path(), "slow-query", folder.path()).unwrap();
        let refresh = || {
            std::fs::create_dir_all(&fingerprint).unwrap();
            refresh(target.path(), "slow-query", folder.path()).unwrap();
            assert!(other.exists(), "another package's record was removed");
            fingerprint.exists()
        };
        assert!(refresh(), "nothing changed");
        std::fs::write(&file, "two").unwrap();
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        std::fs::File::options()
            .append(true)
            .open(&file)
            .unwrap()
            .set_modified(old)
            .unwrap();
        assert!(!refresh(), "an old time hid a change");
        let ahead = SystemTime::now() + std::time::Duration::from_secs(10);
        std::fs::File::options()
            .append(true)
            .open(&file)
            .unwrap()
            .set_modified(ahead)
            .unwrap();
        assert!(refresh(), "cargo sees an edit with a new time by itself");
        std::fs::write(folder.path().join("src/added.sql"), "").unwrap();
        assert!(!refresh(), "an added file was missed");
    }

    #[test]
    fn a_workbook_that_was_moved_is_compiled_again() {
        let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = tempfile::tempdir().unwrap();
        for place in [&before, &after] {
            std::fs::write(place.path().join("lib.rs"), "one").unwrap();
        }
        let fingerprint = target
            .path()
            .join("grade/.fingerprint/slow-query-0123456789abcdef");
        std::fs::create_dir_all(&fingerprint).unwrap();
        remember(target.path(), "slow-query", before.path()).unwrap();
        refresh(target.path(), "slow-query", after.path()).unwrap();
        assert!(!fingerprint.exists());
    }
}
