//! Builds hidden programs with cargo and finds out where they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use services::process::{Signal, end_with_parent};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::errors::Error;
use crate::heard::{Heard, Step};

/// Which crate a hidden program grades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Exercise,
    Reference,
}

/// How a hidden program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Grade,
    /// Knows where each task waits, by what tokio calls unstable. Without optimiser, so that no frame is inlined away.
    Diagnosis,
    /// Not what grades, but the program that is watched on call; it knows where tasks wait as well.
    Incident,
}

impl Flavour {
    /// Needs what tokio calls unstable. It has that on Linux only, and a service can be watched without.
    fn dumps(self) -> bool {
        match self {
            Flavour::Grade => false,
            Flavour::Diagnosis => true,
            Flavour::Incident => cfg!(target_os = "linux"),
        }
    }
}

/// How the compiler begins to tell that a program could not be linked.
const UNLINKED: &str = "error: linking with";

/// What one `cargo build` made.
#[derive(Debug, Default)]
pub struct Built {
    /// Hidden package → its program.
    pub programs: BTreeMap<String, PathBuf>,
    /// Package → the files that cargo made for its library, next to which the compiler's dep-info lies.
    pub libraries: BTreeMap<String, Vec<PathBuf>>,
    /// What the compiler said.
    pub diagnostics: String,
    /// Why the machine, and not what was compiled, may have kept it from being built, and what to do about it.
    pub trouble: Option<Trouble>,
}

/// What keeps a machine from compiling anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub what: &'static str,
    pub next: &'static str,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// One `cargo build` of the hidden programs of `packages` in the workspace `root`, into `target`.
///
/// `say` hears what is being compiled.
pub async fn build(
    root: &Path,
    target: &Path,
    slugs: &[&str],
    side: Side,
    say: &dyn Fn(&Step),
) -> Result<Built, Error> {
    build_flavour(Flavour::Grade, root, target, slugs, side, say).await
}

/// The same for either flavour. Each needs a target folder of its own: flags change every crate.
pub async fn build_flavour(
    flavour: Flavour,
    root: &Path,
    target: &Path,
    slugs: &[&str],
    side: Side,
    say: &dyn Fn(&Step),
) -> Result<Built, Error> {
    let built = build_once(flavour, root, target, slugs, side, say).await?;
    if !built.diagnostics.contains(UNLINKED) {
        return Ok(built);
    }
    // A build that was killed may leave objects behind that no longer fit each other, which cargo does not notice.
    let kinds = |slug: &&str| ["", "-solution", "-hidden"].map(|kind| format!("{slug}{kind}"));
    let packages = slugs.iter().flat_map(kinds).chain(["harness".to_owned()]);
    for package in packages {
        // One by one: a workspace that lacks one of them still has the others.
        let mut clean = cargo(root, target);
        clean.args(["clean", "--quiet", "--profile", "grade", "--package", &package]);
        clean.output().await.ok();
    }
    build_once(flavour, root, target, slugs, side, say).await
}

async fn build_once(
    flavour: Flavour,
    root: &Path,
    target: &Path,
    slugs: &[&str],
    side: Side,
    say: &dyn Fn(&Step),
) -> Result<Built, Error> {
    let mut command = cargo(root, target);
    if flavour.dumps() {
        command.env("RUSTFLAGS", "--cfg tokio_unstable -C force-frame-pointers=yes");
    }
    if flavour == Flavour::Diagnosis {
        command.args(["--config", "profile.grade.opt-level=0"]);
    }
    command.args(["build", "--profile", "grade", "--keep-going"]);
    match flavour {
        Flavour::Grade | Flavour::Diagnosis => command.args(["--test", "grade"]),
        // All of them lie in one folder.
        Flavour::Incident => {
            let names = slugs.iter().map(|slug| format!("{slug}-incident"));
            command.args(names.flat_map(|name| ["--bin".to_owned(), name]))
        }
    };
    command.arg("--message-format=json-render-diagnostics");
    for slug in slugs {
        command.args(["--package", &format!("{slug}-hidden")]);
        if side == Side::Exercise {
            command.args(["--features", &format!("{slug}-hidden/exercise")]);
        }
    }
    match flavour {
        Flavour::Grade => {}
        Flavour::Diagnosis => {
            command.args(["--features", "harness/diagnosis"]);
        }
        Flavour::Incident => {
            // What features dependencies have depends on all packages that are named: so that those of one scenario's
            // program serve the next one's, all are named, and a program is made of those that were asked for alone.
            for slug in with_traffic(root) {
                if !slugs.contains(&slug.as_str()) {
                    command.args(["--package", &format!("{slug}-hidden")]);
                }
            }
            for slug in slugs {
                command.args(["--features", &format!("{slug}-hidden/oncall")]);
            }
            if flavour.dumps() {
                command.args(["--features", "oncall/dump"]);
            }
        }
    }
    let mut child = command.spawn().map_err(|error| Error::Environment {
        what: format!("failed to start cargo: {error}"),
        next: "install Rust with rustup, then cargo xtask doctor".to_owned(),
    })?;
    // What cargo started would go on writing into the target folder when a run is interrupted.
    let mut group = Group(child.id());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Its own bar is how cargo tells the number of units.
    let diagnostics = async {
        let mut heard = Heard::default();
        let Some(mut stderr) = stderr else {
            return String::new();
        };
        let mut chunk = vec![0; 8 << 10];
        while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
            heard.hear(&chunk[..read], say);
        }
        heard.end(say)
    };
    let artifacts = async {
        let mut text = String::new();
        if let Some(mut stdout) = stdout {
            stdout.read_to_string(&mut text).await.ok();
        }
        text
    };
    let (diagnostics, artifacts, status) = tokio::join!(diagnostics, artifacts, child.wait());
    group.0 = None;
    // What was not made is missing from the artifacts, whatever cargo exits with.
    drop(status);
    Ok(collect(&artifacts, diagnostics))
}

/// The slugs of all scenarios that have a program to be watched.
fn with_traffic(root: &Path) -> Vec<String> {
    let folders = std::fs::read_dir(root.join("exercises"));
    let folders = folders.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut slugs: Vec<String> = folders
        .filter(|folder| folder.join("hidden/src/bin/incident.rs").is_file())
        .filter_map(|folder| {
            let name = folder.file_name()?.to_str()?;
            Some(name.split_once('-')?.1.to_owned())
        })
        .collect();
    slugs.sort();
    slugs
}

/// A process group that is killed when it is given up.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            crate::evidence::kill_group(pid);
        }
    }
}

/// Cargo as every grade runs it: what the user's shell sets for other builds stays out.
pub fn cargo(root: &Path, target: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let foreign = name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_PROFILE_")
            || matches!(
                name.as_str(),
                "RUSTFLAGS" | "CARGO_ENCODED_RUSTFLAGS" | "CARGO_BUILD_TARGET" | "CARGO_MANIFEST_DIR"
            );
        if foreign {
            command.env_remove(name);
        }
    }
    command
        .current_dir(root)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "120")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // Whoever kills xtask does not want the rest to be compiled.
    end_with_parent(command.as_std_mut(), Signal::SIGTERM);
    command
}

fn collect(artifacts: &str, diagnostics: String) -> Built {
    let mut built = Built {
        trouble: trouble(&diagnostics),
        diagnostics,
        ..Built::default()
    };
    for message in artifacts
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
    {
        let (Some(id), Some(target)) = (message.package_id, message.target) else {
            continue;
        };
        if message.reason != "compiler-artifact" {
            continue;
        }
        let package = package_name(&id);
        let is = |kind: &str| target.kind.iter().any(|known| known == kind);
        let graded = target.name == "grade" && is("test");
        let watched = target.name.ends_with("-incident") && is("bin");
        match message.executable {
            Some(program) if graded || watched => {
                built.programs.insert(package, program);
            }
            _ => built
                .libraries
                .entry(package)
                .or_default()
                .extend(message.filenames),
        }
    }
    built
}

/// Words by which cargo, the compiler and the linker tell of the machine's trouble, whatever was compiled.
fn trouble(diagnostics: &str) -> Option<Trouble> {
    const ROOM: &str = "make room on that disk, or point CARGO_TARGET_DIR elsewhere";
    const NETWORK: &str = "grade again with a network; what is compiled once needs none";
    const KNOWN: [(&str, &str, &str); 9] = [
        ("No space left on device", "the disk is full", ROOM),
        ("Disk quota exceeded", "the disk's quota is used up", ROOM),
        (
            "Read-only file system",
            "the target folder lies on a file system that is read-only",
            ROOM,
        ),
        (
            "signal: 7, SIGBUS",
            "a compiler lost the file that it was writing, as on a full disk",
            ROOM,
        ),
        (
            "signal: 9, SIGKILL",
            "a compiler was killed, as the system does when memory runs out",
            "close other programs, then grade again",
        ),
        (
            "error: linker `",
            "there is no linker",
            "install a C compiler (Debian: apt-get install gcc), then cargo xtask doctor",
        ),
        ("failed to download", "a crate could not be downloaded", NETWORK),
        (
            "Could not resolve host",
            "the registry cannot be reached",
            NETWORK,
        ),
        (
            "attempting to make an HTTP request, but --offline was specified",
            "a crate is not here yet, and cargo is offline",
            NETWORK,
        ),
    ];
    KNOWN
        .iter()
        .find(|(words, ..)| diagnostics.contains(words))
        .map(|&(_, what, next)| Trouble { what, next })
}

/// Whether cargo gave up before it compiled anything, for a reason that names neither the exercise nor its manifest: the
/// workbook's own manifests are at fault, not what was to be compiled.
pub fn gave_up_early(diagnostics: &str, scenario: &crate::catalogue::Scenario) -> bool {
    let manifest = format!("exercises/{}/Cargo.toml", scenario.id);
    let package = format!("`{} v", scenario.slug);
    diagnostics.contains("error: ")
        && !diagnostics.contains("could not compile")
        && !diagnostics.contains(&manifest)
        && !diagnostics.contains(&package)
}

/// `path+file:///w/exercises/04-slow-query/hidden#slow-query-hidden@0.1.0`, or `…/bytes#1.0.0` where folder and
/// package share their name.
fn package_name(id: &str) -> String {
    let (path, fragment) = id.rsplit_once('#').unwrap_or(("", id));
    match fragment.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => path.rsplit('/').next().unwrap_or(path).to_owned(),
    }
}

/// What the compiler said about one scenario: its paragraphs that name a file or a crate of it, or all when none does.
pub fn diagnostics_of(diagnostics: &str, scenario: &crate::catalogue::Scenario) -> String {
    let names = [
        scenario.id.clone(),
        scenario.slug.clone(),
        scenario.slug.replace('-', "_"),
    ];
    let mine: Vec<&str> = diagnostics
        .split("\n\n")
        .filter(|paragraph| names.iter().any(|name| paragraph.contains(name)))
        .collect();
    if mine.is_empty() {
        diagnostics.trim_end().to_owned()
    } else {
        mine.join("\n\n").trim_end().to_owned()
    }
}

/// The checks in a hidden program: the test's own name → libtest's name, modules included.
pub async fn checks_of(program: &Path) -> Result<BTreeMap<String, String>, Error> {
    let listed = Command::new(program)
        .args(["--list", "--format", "terse"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(10), listed).await;
    let Ok(Ok(output)) = output else {
        return Err(Error::Submission {
            what: format!("{} did not list its checks", program.display()),
            next: "look for code that runs before main".to_owned(),
        });
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(|test| {
            (
                test.rsplit("::").next().unwrap_or(test).to_owned(),
                test.to_owned(),
            )
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case(
        "error: failed to write `/t/grade/x.rmeta`: No space left on device (os error 28)",
        Some("the disk is full")
    )]
    #[case(
        "process didn't exit successfully: `rustc` (signal: 9, SIGKILL: kill)",
        Some("a compiler was killed, as the system does when memory runs out")
    )]
    #[case("error: linker `cc` not found", Some("there is no linker"))]
    #[case("error[E0599]: no method named `room` found", None)]
    #[case(
        "error: linking with `cc` failed: exit status: 1\n undefined symbol: foo",
        None
    )]
    fn the_machines_trouble_is_told_from_the_submissions(#[case] said: &str, #[case] what: Option<&str>) {
        assert_eq!(super::trouble(said).map(|trouble| trouble.what), what);
    }

    #[rstest]
    #[case(
        "path+file:///w/exercises/04-slow-query/hidden#slow-query-hidden@0.1.0",
        "slow-query-hidden"
    )]
    #[case("registry+https://github.com/rust-lang/crates.io-index#bytes@1.12.1", "bytes")]
    #[case("path+file:///w/harness/verdict#0.1.0", "verdict")]
    fn packages(#[case] id: &str, #[case] name: &str) {
        assert_eq!(super::package_name(id), name);
    }
}
