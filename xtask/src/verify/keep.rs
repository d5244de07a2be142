//! Programs that wait to be run while the next ones are built.

use std::path::{Path, PathBuf};

use crate::errors::Error;
use crate::submission::Overlay;
use crate::workbook::Workbook;

/// A program of its own and the folder that it runs in, removed with this value.
///
/// Both are copies. Cargo links what it builds to several names and may write through any of them, and the scratch
/// folder holds the next variant's files long before this one's checks have ended.
#[derive(Debug)]
#[must_use = "dropping it removes the program"]
pub struct Kept {
    pub program: PathBuf,
    /// What the process has as its current folder, as under `cargo test`.
    pub folder: PathBuf,
    all: PathBuf,
}

impl Kept {
    /// Copies `program` and the subject's `files`.
    pub fn copy(workbook: &Workbook, name: &str, program: &Path, files: &Overlay) -> Result<Kept, Error> {
        let all = shelf(workbook).join(name);
        let kept = Kept {
            program: all.join("grade"),
            folder: all.join("room"),
            all,
        };
        kept.fill(program, files).map_err(|error| Error::Environment {
            what: format!("failed to copy a program to {}: {error}", kept.all.display()),
            next: "make room on that disk, or point CARGO_TARGET_DIR elsewhere".to_owned(),
        })?;
        Ok(kept)
    }

    fn fill(&self, program: &Path, files: &Overlay) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        // A file that is there already may be linked to something: it goes first.
        std::fs::remove_file(&self.program).ok();
        std::fs::copy(program, &self.program)?;
        for (file, content) in &files.files {
            let to = self.folder.join(file);
            to.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(to, content)?;
        }
        Ok(())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.all).ok();
    }
}

/// Removes what an interrupted run left here.
pub fn sweep(workbook: &Workbook) {
    std::fs::remove_dir_all(shelf(workbook)).ok();
}

fn shelf(workbook: &Workbook) -> PathBuf {
    workbook.workshop().join("verify").join("kept")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn workbook(folder: &tempfile::TempDir) -> Workbook {
        Workbook {
            root: folder.path().to_owned(),
            target: folder.path().join("target"),
        }
    }

    #[test]
    fn a_later_link_does_not_change_a_kept_program() {
        let folder = tempfile::tempdir().unwrap();
        let (program, linked) = (folder.path().join("grade-1"), folder.path().join("deps-grade-1"));
        std::fs::write(&linked, "first").unwrap();
        std::fs::hard_link(&linked, &program).unwrap();
        let keep = || Kept::copy(&workbook(&folder), "a/one", &program, &Overlay::default()).unwrap();
        let kept = keep();
        let read = |kept: &Kept| std::fs::read_to_string(&kept.program).unwrap();
        // In place, through the other name, as linkers do that reuse their output.
        let mut file = std::fs::File::options().write(true).open(&linked).unwrap();
        file.write_all(b"other").unwrap();
        assert_eq!(std::fs::read_to_string(&program).unwrap(), "other");
        assert_eq!(read(&kept), "first");
        // By removal and a new file.
        std::fs::remove_file(&program).unwrap();
        std::fs::write(&program, "third").unwrap();
        assert_eq!(read(&kept), "first");
    }

    #[test]
    fn copies_are_executable_hold_the_subjects_files_and_go_with_their_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut files = Overlay::default();
        files
            .files
            .insert("migrations/1.sql".into(), b"SELECT 1".to_vec());
        let kept = Kept::copy(&workbook(&folder), "a/one", &program, &files).unwrap();
        let mode = std::fs::metadata(&kept.program).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111);
        assert_eq!(
            std::fs::read(kept.folder.join("migrations/1.sql")).unwrap(),
            b"SELECT 1"
        );
        let all = kept.all.clone();
        drop(kept);
        assert!(!all.exists());
    }

    #[test]
    fn what_an_interrupted_run_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, "").unwrap();
        let kept = Kept::copy(&workbook(&folder), "a/one", &program, &Overlay::default()).unwrap();
        let all = kept.all.clone();
        std::mem::forget(kept);
        sweep(&workbook(&folder));
        assert!(!all.exists());
    }
}
