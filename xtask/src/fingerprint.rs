//! Hashes of all that can change a verdict, so that what was proved is known to be of these very files.
//!
//! FNV-1a of 128 bits: the same on every machine and with every compiler, which std's hasher does not promise. It guards
//! against forgetting, not against forgery.

use std::path::{Path, PathBuf};

use crate::catalogue::Scenario;
use crate::errors::Error;
use crate::variant::Variant;
use crate::workbook::Workbook;

/// Files at the root that every build depends on.
const ROOT_FILES: [&str; 4] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    ".cargo/config.toml",
];

/// A hash under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u128);

impl Fingerprint {
    pub fn new() -> Fingerprint {
        Fingerprint(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    /// Adds one field. Its length goes first, so that neighbours cannot lend each other bytes.
    pub fn add(&mut self, bytes: &[u8]) -> &mut Fingerprint {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        self
    }

    /// Adds every file below `folder` for which `counts` holds, by its path from there.
    fn add_files(&mut self, folder: &Path, counts: &dyn Fn(&Path) -> bool) -> Result<(), Error> {
        for file in files(folder)? {
            let name = file.strip_prefix(folder).unwrap_or(&file);
            if counts(name) {
                self.add(name.as_os_str().as_encoded_bytes());
                self.add_file(&file)?;
            }
        }
        Ok(())
    }

    fn add_file(&mut self, file: &Path) -> Result<(), Error> {
        let content =
            std::fs::read(file).map_err(|error| Error::slip(file, format!("failed to read it: {error}")))?;
        self.add(&content);
        Ok(())
    }

    pub fn hex(self) -> String {
        format!("{:032x}", self.0)
    }
}

/// What all subjects of a scenario share: both trees, the hidden checks, the manifest, the harness, the lock file.
/// Not the variants, and not this program itself: see [`of_judge`].
pub fn of_scenario(workbook: &Workbook, scenario: &Scenario) -> Result<Fingerprint, Error> {
    let mut print = Fingerprint::new();
    // Nor what is watched and judges nothing.
    let judged = |name: &Path| {
        let aside = ["tests", "variants", "hidden/src/bin"];
        !is_prose(name) && !aside.iter().any(|folder| name.starts_with(folder))
    };
    print.add(scenario.id.as_bytes());
    print.add_files(&scenario.exercise, &judged)?;
    print.add_files(&scenario.solution, &judged)?;
    let harness = workbook.root.join("harness");
    if harness.is_dir() {
        // Its own tests and benches judge it, not subjects; `oncall` is linked by no graded program.
        let linked = |name: &Path| {
            let part = name.components().nth(1);
            !is_prose(name)
                && !name.starts_with("oncall")
                && !part.is_some_and(|part| matches!(part.as_os_str().to_str(), Some("tests" | "benches")))
        };
        print.add_files(&harness, &linked)?;
    }
    for file in ROOT_FILES.iter().map(|file| workbook.root.join(file)) {
        if file.is_file() {
            print.add_file(&file)?;
        }
    }
    Ok(print)
}

/// One variant, with what it shares with all.
pub fn of_variant(shared: Fingerprint, variant: &Variant) -> Result<Fingerprint, Error> {
    let mut print = shared;
    print.add(variant.name.as_bytes());
    print.add_files(&variant.folder, &|_| true)?;
    Ok(print)
}

/// A scenario with all its variants.
pub fn of_whole(
    workbook: &Workbook,
    scenario: &Scenario,
    variants: &[Variant],
) -> Result<Fingerprint, Error> {
    let mut print = of_scenario(workbook, scenario)?;
    for variant in variants {
        print = of_variant(print, variant)?;
    }
    Ok(print)
}

/// This very program.
pub fn of_judge() -> Fingerprint {
    let mut print = Fingerprint::new();
    let program = std::env::current_exe().and_then(std::fs::read);
    // Without it nothing of an earlier part can be trusted to have been judged alike; a moment in time matches nothing.
    let content = program.unwrap_or_else(|_| format!("{:?}", std::time::SystemTime::now()).into_bytes());
    print.add(&content);
    print
}

fn is_prose(name: &Path) -> bool {
    let pictures_too = ["md", "svg"];
    name.extension()
        .is_some_and(|extension| pictures_too.iter().any(|known| extension == *known))
}

/// Files below `folder`, sorted, without what tools leave there.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(at) = left.pop() {
        let entries = std::fs::read_dir(&at)
            .map_err(|error| Error::slip(&at, format!("failed to list it: {error}")))?;
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() {
                if name != "target" && !name.to_string_lossy().starts_with('.') {
                    left.push(path);
                }
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fnv_1a() {
        // The published vector for "a" has no length in front of it; with the length the bytes are 01 00… 61.
        let mut print = Fingerprint::new();
        print.add(b"a");
        let expected = [1_u8, 0, 0, 0, 0, 0, 0, 0, 0x61]
            .iter()
            .fold(Fingerprint::new().0, |hash, byte| {
                (hash ^ u128::from(*byte)).wrapping_mul((1 << 88) + 0x13b)
            });
        assert_eq!(print.0, expected);
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let of = |fields: &[&str]| {
            let mut print = Fingerprint::new();
            for field in fields {
                print.add(field.as_bytes());
            }
            print
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
    }

    #[test]
    fn a_name_a_byte_and_a_removal_each_change_it() {
        let folder = tempfile::tempdir().unwrap();
        let of = || {
            let mut print = Fingerprint::new();
            print.add_files(folder.path(), &|name| !is_prose(name)).unwrap();
            print
        };
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.rs", "one");
        let first = of();
        write("README.md", "prose does not judge");
        assert_eq!(of(), first);
        write("a.rs", "two");
        let second = of();
        std::fs::rename(folder.path().join("a.rs"), folder.path().join("b.rs")).unwrap();
        let third = of();
        std::fs::remove_file(folder.path().join("b.rs")).unwrap();
        assert!(first != second && second != third && third != of());
    }
}
