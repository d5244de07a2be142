//! A copy of the workspace in which other people's files are compiled.
//!
//! It has a target folder of its own: with a shared one, cargo called a crate fresh after another workspace's build and
//! ran that one's code. Files are compared by content and written with the present time, so cargo sees every change.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::catalogue::Scenario;
use crate::errors::Error;
use crate::lanes::Lane;
use crate::stale;
use crate::submission::Overlay;
use crate::terminal::Screen;
use crate::workbook::Workbook;

/// How often it is tried to have the copy while another command has it.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// The copy, which one command has at a time: what two of them lay into it would be mixed.
#[derive(Debug)]
pub struct Scratch {
    pub root: PathBuf,
    pub target: PathBuf,
    /// The kernel gives it back, however the command ends.
    _lock: Flock<File>,
}

impl Scratch {
    /// Makes the copy, or brings it up to date with the workbook's working tree, once no other command has it.
    pub async fn prepare(workbook: &Workbook, screen: &Screen) -> Result<Scratch, Error> {
        let base = workbook.workshop().join("scratch");
        let failed = |error: std::io::Error| Error::Environment {
            what: format!("failed to copy the workbook to {}: {error}", base.display()),
            next: "make room on that disk, or point CARGO_TARGET_DIR elsewhere".to_owned(),
        };
        let scratch = Scratch {
            root: base.join("workspace"),
            target: base.join("target"),
            _lock: lock(&base, screen).await.map_err(failed)?,
        };
        screen.tell(Lane::Copy, None, "the workbook");
        scratch.mirror(workbook).map_err(failed)?;
        screen.end(Lane::Copy);
        Ok(scratch)
    }

    fn mirror(&self, workbook: &Workbook) -> std::io::Result<()> {
        let fresh = !self.root.exists();
        std::fs::create_dir_all(&self.root)?;
        let mut wanted = files(&workbook.root, &workbook.target)?;
        if self.root.starts_with(&workbook.root) {
            // Cargo finds the workbook's own configuration in a parent folder. A second copy would give each flag in it
            // twice, which is another set of flags: nothing that was compiled in place would be fresh here.
            wanted.retain(|file| !file.starts_with(".cargo"));
        }
        for stray in files(&self.root, &self.target)?.difference(&wanted) {
            std::fs::remove_file(self.root.join(stray)).ok();
        }
        // Cargo takes a folder that a member's glob matches for a member, however empty it is.
        remove_empty(&self.root, &self.target);
        for file in &wanted {
            let (from, to) = (workbook.root.join(file), self.root.join(file));
            if let Some(parent) = to.parent() {
                std::fs::create_dir_all(parent)?;
            }
            put(&to, &std::fs::read(&from)?)?;
            if fresh {
                // With the target folder copied as well, what did not change need not be compiled again.
                let modified = std::fs::metadata(&from)?.modified()?;
                std::fs::File::options()
                    .append(true)
                    .open(&to)?
                    .set_modified(modified)?;
            }
        }
        if !self.target.join("grade").exists() && workbook.target.join("grade").exists() {
            self.seed_target(workbook)?;
        }
        Ok(())
    }

    fn seed_target(&self, workbook: &Workbook) -> std::io::Result<()> {
        let to = self.target.join("grade");
        std::fs::create_dir_all(&to)?;
        for part in ["deps", "build", ".fingerprint"] {
            let from = workbook.target.join("grade").join(part);
            if from.exists() {
                std::process::Command::new("cp")
                    .arg("-a")
                    .arg(from)
                    .arg(&to)
                    .status()?;
            }
        }
        Ok(())
    }

    pub fn exercise(&self, scenario: &Scenario) -> PathBuf {
        self.root.join("exercises").join(&scenario.id)
    }

    /// Puts a submission's files in place of the exercise's lesson files, so that what it lacks is absent.
    pub fn lay(&self, scenario: &Scenario, overlay: &Overlay) -> Result<(), Error> {
        let folder = self.exercise(scenario);
        let lesson = scenario
            .manifest
            .lesson_globs()
            .map_err(|what| Error::slip(scenario.manifest_file(), what))?;
        let failed = |error: std::io::Error| Error::Environment {
            what: format!("failed to write below {}: {error}", folder.display()),
            next: "make room on that disk, or point CARGO_TARGET_DIR elsewhere".to_owned(),
        };
        for file in files(&folder, Path::new("")).map_err(failed)? {
            if lesson.is_match(&file) && !overlay.files.contains_key(&file) {
                std::fs::remove_file(folder.join(&file)).map_err(failed)?;
            }
        }
        for (file, content) in &overlay.files {
            let to = folder.join(file);
            to.parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| put(&to, content))
                .map_err(failed)?;
        }
        if !overlay.files.contains_key(Path::new("Cargo.toml")) {
            let ours = std::fs::read(scenario.exercise.join("Cargo.toml")).map_err(failed)?;
            put(&folder.join("Cargo.toml"), &ours).map_err(failed)?;
        }
        stale::refresh(&self.target, &scenario.slug, &folder)
    }
}

async fn lock(base: &Path, screen: &Screen) -> std::io::Result<Flock<File>> {
    std::fs::create_dir_all(base)?;
    let mut file = File::create(base.join("lock"))?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK)) => file = back,
            Err((_, errno)) => return Err(errno.into()),
        }
        screen.tell(
            Lane::Copy,
            None,
            "waits for another command that has the scratch copy",
        );
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Writes a file unless it holds just that already.
fn put(to: &Path, content: &[u8]) -> std::io::Result<()> {
    if std::fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    std::fs::write(to, content)
}

/// All files below `root`, relative to it, without `target`, git's folder and what hidden folders hold, `.cargo` excepted.
fn files(root: &Path, target: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut left = vec![root.to_owned()];
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(&at)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let hidden = name.starts_with('.') && name != ".cargo";
            if path == target || hidden || (name == "target" && entry.path().join("CACHEDIR.TAG").exists()) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_file() {
                found.extend(path.strip_prefix(root).ok().map(Path::to_owned));
            }
        }
    }
    Ok(found)
}

/// Removes the folders below `folder` in which there is no file.
fn remove_empty(folder: &Path, target: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path != target && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&path, target);
            // Fails where something is left in it, which is meant.
            std::fs::remove_dir(path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workbook() -> (tempfile::TempDir, Workbook) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        for (file, content) in [
            ("Cargo.toml", "[workspace]"),
            ("exercises/a.rs", "one"),
            (".cargo/config.toml", ""),
            (".git/HEAD", "x"),
            ("target/x", "y"),
        ] {
            std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            std::fs::write(root.join(file), content).unwrap();
        }
        (
            folder,
            Workbook {
                target: root.join("target"),
                root,
            },
        )
    }

    async fn prepared(workbook: &Workbook) -> Scratch {
        let screen = Screen::new(crate::flags::Format::Json);
        Scratch::prepare(workbook, &screen).await.unwrap()
    }

    #[tokio::test]
    async fn the_copy_follows_the_working_tree() {
        let (_folder, workbook) = workbook();
        let scratch = prepared(&workbook).await;
        let root = scratch.root.clone();
        drop(scratch);
        let read = |file: &str| std::fs::read_to_string(root.join(file)).ok();
        assert_eq!(read("exercises/a.rs").as_deref(), Some("one"));
        assert_eq!((read(".git/HEAD"), read("target/x")), (None, None));
        assert_eq!(read(".cargo/config.toml"), None, "cargo would read it twice");
        std::fs::write(workbook.root.join("exercises/a.rs"), "two").unwrap();
        std::fs::create_dir_all(root.join("exercises/gone/src")).unwrap();
        std::fs::create_dir_all(root.join("exercises/gone/migrations")).unwrap();
        std::fs::write(root.join("exercises/gone/src/stray.rs"), "").unwrap();
        prepared(&workbook).await;
        assert_eq!(read("exercises/a.rs").as_deref(), Some("two"));
        assert!(
            !root.join("exercises/gone").exists(),
            "cargo takes an empty folder for a member"
        );
    }

    #[tokio::test]
    async fn a_copy_elsewhere_takes_the_configuration_along() {
        let (_folder, mut workbook) = workbook();
        let elsewhere = tempfile::tempdir().unwrap();
        workbook.target = elsewhere.path().to_owned();
        let scratch = prepared(&workbook).await;
        assert!(scratch.root.join(".cargo/config.toml").is_file());
    }

    #[tokio::test]
    async fn one_command_has_the_copy_at_a_time() {
        let (_folder, workbook) = workbook();
        let first = prepared(&workbook).await;
        let mut second = std::pin::pin!(prepared(&workbook));
        tokio::select! {
            biased;
            _ = &mut second => panic!("two have it"),
            () = tokio::task::yield_now() => {}
        }
        drop(first);
        second.await;
    }
}
