//! The tiny workbook of `tests/workbook`, copied to where it can be changed, and `xtask` run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A copy of the tiny workbook.
pub struct Workbook {
    pub root: PathBuf,
    target: PathBuf,
    cache: Option<tempfile::TempDir>,
    // Removed when the test ends, unless the copy is the shared one.
    _folder: Option<tempfile::TempDir>,
    _turn: Option<(MutexGuard<'static, ()>, std::fs::File)>,
}

/// What one command printed.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Workbook {
    /// A copy of its own, for tests that build nothing.
    pub fn copy() -> Workbook {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        lay(&root);
        Workbook {
            target: root.join("target"),
            cache: None,
            root,
            _folder: Some(folder),
            _turn: None,
        }
    }

    /// The one copy in which things are built, by one test at a time. It is put back to how it was first.
    pub fn built() -> Workbook {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiny-workbook");
        std::fs::create_dir_all(&base).unwrap();
        // Another run of these tests, from an editor say, waits too.
        let lock = std::fs::File::create(base.join("lock")).unwrap();
        lock.lock().unwrap();
        let root = base.join("root");
        for kept in ["exercises", "solutions", ".war-stories"] {
            std::fs::remove_dir_all(root.join(kept)).ok();
        }
        lay(&root);
        Workbook {
            target: base.join("target"),
            cache: None,
            root,
            _folder: None,
            _turn: Some((turn, lock)),
        }
    }

    /// As [`Workbook::built`], with a second scenario, whose check has a database, and a cache of its own.
    pub fn served() -> Workbook {
        let mut workbook = Workbook::built();
        copy(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/served"),
            &workbook.root,
        );
        let cache = tempfile::tempdir().unwrap();
        // The servers drop root, and must be able to enter it.
        std::fs::set_permissions(cache.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        workbook.cache = Some(cache);
        workbook
    }

    /// What is kept between runs, of a [`Workbook::served`] one.
    pub fn cache(&self) -> &Path {
        self.cache.as_ref().unwrap().path()
    }

    pub fn xtask(&self, arguments: &[&str]) -> Said {
        self.xtask_with(arguments, &[])
    }

    pub fn xtask_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        Said::from(
            self.command(arguments)
                .envs(variables.iter().copied())
                .output()
                .unwrap(),
        )
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        self.wrapped(&[env!("CARGO_BIN_EXE_xtask")], arguments)
    }

    /// `xtask` at the end of another command, which is to run it.
    pub fn wrapped(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new(wrapper[0]);
        command
            .args(&wrapper[1..])
            .args(arguments)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("NO_COLOR", "1")
            .env("WAR_STORIES_SERVICES", "local")
            .env_remove("RUST_BACKTRACE");
        if let Some(cache) = &self.cache {
            command.env("WAR_STORIES_CACHE", cache.path());
        }
        command
    }

    /// Cargo's target folder.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// What the tools keep between runs.
    pub fn workshop(&self) -> PathBuf {
        self.target.join("war-stories")
    }

    pub fn write(&self, file: &str, content: &str) {
        let path = self.root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.root.join(file)).unwrap()
    }

    /// Replaces `from`, which must be there, in a file.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "{file} has no {from}");
        self.write(file, &text.replace(from, to));
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        Said {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    /// The report of `--format json`.
    pub fn report(&self) -> verdict::report::Report {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// What was said, with figures that change from run to run replaced.
    pub fn steady(&self) -> String {
        let mut text = String::new();
        for line in self.stdout.lines() {
            let line = match line.split_once(" s: services ") {
                Some(_) => "[where the time went]".to_owned(),
                None => steady_line(line),
            };
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn steady_line(line: &str) -> String {
    // `  0.3 s` at the end of a check's line.
    let trimmed = line.trim_end_matches(" s");
    if trimmed.len() < line.len()
        && let Some((start, seconds)) = trimmed.rsplit_once(' ')
        && seconds.parse::<f64>().is_ok()
    {
        return format!("{} [time]", start.trim_end());
    }
    line.to_owned()
}

fn lay(root: &Path) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    copy(&workspace.join("xtask/tests/workbook"), root);
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let harness = workspace.join("harness/check");
    std::fs::write(
        root.join("Cargo.toml"),
        manifest.replace("HARNESS", harness.to_str().unwrap()),
    )
    .unwrap();
    std::fs::copy(workspace.join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
    std::fs::create_dir_all(root.join(".cargo")).unwrap();
    std::fs::copy(
        workspace.join(".cargo/config.toml"),
        root.join(".cargo/config.toml"),
    )
    .unwrap();
}

/// Files that hold the same already keep their modification times, so that cargo has nothing to do.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            let content = std::fs::read(entry.path()).unwrap();
            if std::fs::read(&target).ok().as_ref() != Some(&content) {
                std::fs::write(target, content).unwrap();
            }
        }
    }
}
