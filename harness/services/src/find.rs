//! Programs that are installed: on `PATH`, or where the distributions put servers that are not meant for `PATH`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kind::Kind;
use crate::options::Search;
use crate::zookeeper;

/// The major version of PostgreSQL that budgets were calibrated on; the first choice among several.
const POSTGRES_MAJOR: u32 = 15;

/// Folders that may hold servers; `*` stands for a part of one name.
const USUAL_FOLDERS: &[&str] = &[
    // Debian and Ubuntu; RHEL and Fedora (PGDG); SUSE; Alpine; MacPorts; Postgres.app; Homebrew on ARM and on Intel.
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/lib/postgresql*/bin",
    "/usr/libexec/postgresql*",
    "/opt/local/lib/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/opt/homebrew/bin",
    "/home/linuxbrew/.linuxbrew/bin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/bin",
    "/usr/sbin",
];

/// A server's program and what it needs to run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The server itself; its helpers (`initdb`) lie beside it.
    pub(crate) path: PathBuf,
    /// As in `15.18`.
    pub(crate) version: String,
    /// Folders of shared libraries that the system's loader does not know.
    pub(crate) libraries: Vec<PathBuf>,
    /// What runs it, where it is nothing that the kernel runs.
    pub(crate) interpreter: Option<PathBuf>,
}

impl Program {
    /// Looks at a file: it has to run and to say its version.
    pub(crate) fn inspect(path: PathBuf, libraries: Vec<PathBuf>) -> Result<Program, String> {
        let mut program = Program {
            path,
            version: String::new(),
            libraries,
            interpreter: None,
        };
        let output = program
            .command("")
            .arg("--version")
            .output()
            .map_err(|error| error.to_string())?;
        let said = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat();
        match version_in(&said) {
            Some(version) if output.status.success() => program.version = version,
            _ => return Err(format!("{} --version: {}", program.path.display(), said.trim())),
        }
        Ok(program)
    }

    /// A command of this program (of its interpreter, where it has one), or of one beside it when `sibling` is not empty,
    /// with its libraries.
    pub(crate) fn command(&self, sibling: &str) -> Command {
        let mut command = match (&self.interpreter, sibling) {
            (Some(interpreter), _) => Command::new(interpreter),
            (None, "") => Command::new(&self.path),
            (None, sibling) => Command::new(self.path.with_file_name(sibling)),
        };
        if !self.libraries.is_empty() {
            let known = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
            let all = self
                .libraries
                .iter()
                .cloned()
                .chain(std::env::split_paths(&known));
            let joined = std::env::join_paths(all.filter(|folder| !folder.as_os_str().is_empty()));
            command.env("LD_LIBRARY_PATH", joined.unwrap_or_else(|_| OsString::new()));
        }
        command
    }

    /// The major version, 0 when there is none.
    pub(crate) fn major(&self) -> u32 {
        self.version
            .split('.')
            .next()
            .and_then(|major| major.parse().ok())
            .unwrap_or(0)
    }
}

/// The installed program of `kind`; for PostgreSQL version 15 before any other, then the newest.
///
/// # Errors
/// Where was looked, and what was found wanting there.
pub(crate) fn installed(kind: Kind, search: &Search) -> Result<Program, String> {
    if !search.installed {
        return Err("installed servers are to be ignored".to_owned());
    }
    if kind == Kind::ZooKeeper {
        return zookeeper::installed(search);
    }
    let mut folders = search.folders();
    if search.usual_folders {
        folders.extend(USUAL_FOLDERS.iter().flat_map(|pattern| expand(pattern)));
    }
    let mut wanting = Vec::new();
    let mut found: Vec<Program> = Vec::new();
    for folder in &folders {
        let path = folder.join(kind.program());
        if !path.is_file() || found.iter().any(|program| program.path == path) {
            continue;
        }
        if kind == Kind::Postgres && !folder.join("initdb").is_file() {
            wanting.push(format!("{} lacks initdb beside it", path.display()));
            continue;
        }
        match Program::inspect(path, Vec::new()) {
            Ok(program) => found.push(program),
            Err(reason) => wanting.push(reason),
        }
        // The first on PATH wins, as in a shell; only PostgreSQL has reasons to go on looking.
        if kind != Kind::Postgres && !found.is_empty() {
            break;
        }
    }
    // PostgreSQL before 13 lacks what the probes read.
    found.retain(|program| kind != Kind::Postgres || program.major() >= 13);
    let choice = found
        .into_iter()
        .max_by_key(|program| (program.major() == POSTGRES_MAJOR, program.major()));
    choice.ok_or_else(|| {
        let usual = if search.usual_folders {
            " and in the usual folders"
        } else {
            ""
        };
        let path = search
            .folders()
            .iter()
            .map(|folder| folder.display().to_string())
            .collect::<Vec<_>>()
            .join(":");
        let mut reason = format!("no `{}` on PATH ({path}){usual}", kind.program());
        wanting
            .iter()
            .for_each(|line| reason.push_str(&format!("\n{line}")));
        reason
    })
}

/// The folders that a pattern with one `*` stands for, in order of their names.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    let after = after.trim_start_matches('/');
    names
        .iter()
        .map(|name| Path::new(parent).join(name).join(after))
        .filter(|folder| folder.is_dir())
        .collect()
}

/// The first word with digits and a dot in what `--version` printed: each of the four says it differently.
fn version_in(said: &str) -> Option<String> {
    let word = |word: &str| {
        let from = word.find(|c: char| c.is_ascii_digit())?;
        let rest = &word[from..];
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let version = rest[..end].trim_end_matches('.');
        // A pre-release says `18beta1`.
        (version.contains('.') || end < rest.len()).then(|| version.to_owned())
    };
    said.split_ascii_whitespace().find_map(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::os::unix::fs::PermissionsExt;

    #[rstest]
    #[case("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some("15.18"))]
    #[case("postgres (PostgreSQL) 18beta1", Some("18"))]
    #[case(
        "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64",
        Some("7.0.15")
    )]
    #[case("PgBouncer 1.18.0\nlibevent 2.1.12-stable", Some("1.18.0"))]
    #[case("etcd Version: 3.4.23\nGit SHA: Not provided", Some("3.4.23"))]
    #[case("error while loading shared libraries", None)]
    fn each_server_says_its_version_in_its_own_way(#[case] said: &str, #[case] version: Option<&str>) {
        assert_eq!(version_in(said).as_deref(), version);
    }

    fn program(folder: &Path, name: &str, says: &str) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), format!("#!/bin/sh\necho '{says}'\n")).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn search(folders: &[&Path]) -> Search {
        let path = Some(std::env::join_paths(folders).unwrap());
        Search {
            path,
            usual_folders: false,
            ..Search::default()
        }
    }

    #[test]
    fn among_several_postgres_the_calibrated_one_wins() {
        let root = tempfile::tempdir().unwrap();
        let folders = ["17", "15", "16", "9"].map(|major| root.path().join(major));
        for (folder, says) in folders.iter().zip(["17.2", "15.18", "16.1", "9.6"]) {
            program(folder, "postgres", &format!("postgres (PostgreSQL) {says}"));
            program(folder, "initdb", "");
        }
        let all: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
        assert_eq!(installed(Kind::Postgres, &search(&all)).unwrap().version, "15.18");
        assert_eq!(
            installed(Kind::Postgres, &search(&[&folders[0], &folders[2]]))
                .unwrap()
                .version,
            "17.2"
        );
        assert!(installed(Kind::Postgres, &search(&[&folders[3]])).is_err());
    }

    #[test]
    fn what_is_wanting_is_told() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("bin");
        program(&folder, "postgres", "postgres (PostgreSQL) 15.18");
        let reason = installed(Kind::Postgres, &search(&[&folder])).unwrap_err();
        assert!(reason.contains("lacks initdb"), "{reason}");
        program(&folder, "redis-server", "");
        let reason = installed(Kind::Redis, &search(&[&folder])).unwrap_err();
        assert!(
            reason.contains("--version") && reason.contains("no `redis-server` on PATH"),
            "{reason}"
        );
        let reason = installed(Kind::Etcd, &search(&[&folder])).unwrap_err();
        assert!(reason.contains(&folder.display().to_string()), "{reason}");
    }

    #[test]
    fn patterns_expand_to_folders_that_exist() {
        let root = tempfile::tempdir().unwrap();
        for name in ["pg-15/bin", "pg-16/bin", "pg-17/lib", "other/bin"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let pattern = format!("{}/pg-*/bin", root.path().display());
        assert_eq!(
            expand(&pattern),
            [root.path().join("pg-15/bin"), root.path().join("pg-16/bin")]
        );
    }
}
