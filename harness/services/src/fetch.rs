//! The distribution's own packages, fetched without root and unpacked without installing anything.
//!
//! Debian and Ubuntu. The package client gets a private state folder, so that nothing of the system is locked or
//! changed: the system's index of packages is copied, and brought up to date in the copy only when it is too old to be
//! of use. What the package depends on and the machine lacks comes along; what only matters to an installed server
//! (cluster scripts, the JIT's compiler) stays out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Uid;

use crate::find::Program;
use crate::kind::Kind;
use crate::lock::Lock;
use crate::options::{Options, Search};
use crate::owner::Owner;
use crate::{Error, folder, zookeeper};

/// Name under which a finished folder of unpacked packages says what it holds.
const LIST: &str = ".packages";

/// Where the distributions' PostgreSQL reads time zones, wherever it lies itself.
const ZONES: &str = "/usr/share/zoneinfo";

/// The program of `kind` from the cache, or fetched into it.
///
/// # Errors
/// Why packages cannot be had here, as text for a list of attempts; trouble with the cache folder as an [`Error`].
pub(crate) fn fetched(kind: Kind, options: &Options) -> Result<Result<Program, String>, Error> {
    let shelf = options.cache_dir.join("fetched");
    let target = shelf.join(kind.word());
    // Another run may be unpacking the same; its result will do.
    let _lock = Lock::to_change(&shelf, options, "fetches packages")?;
    if let Ok(program) = unpacked(kind, &target, &options.search) {
        return Ok(Ok(program));
    }
    if kind == Kind::Postgres && !Path::new(ZONES).is_dir() {
        // The distributions build the path into the program, and drivers ask for `UTC` by name.
        return Ok(Err(format!(
            "PostgreSQL needs the time zones in {ZONES}; type `sudo apt-get install tzdata`"
        )));
    }
    let client = match Client::find(options) {
        Ok(client) => client,
        Err(reason) => return Ok(Err(reason)),
    };
    options.say(format!(
        "fetching {} packages from the distribution, once",
        kind.title()
    ));
    let packages = match client
        .resolve(kind)
        .or_else(|_| client.update().and_then(|()| client.resolve(kind)))
    {
        Ok(packages) => packages,
        Err(reason) => return Ok(Err(reason)),
    };
    let building = shelf.join(format!(".building-{}", Owner::this()));
    let clean = |_: &str| folder::remove(&building);
    let result = client.unpack(&packages, &building);
    if let Err(reason) = result {
        let _ = clean(&reason);
        return Ok(Err(reason));
    }
    let list = packages.join("\n") + "\n";
    fs::write(building.join(LIST), list).map_err(|source| Error::folder(&building, "write to", source))?;
    if let Err(reason) = unpacked(kind, &building, &options.search) {
        let _ = clean(&reason);
        return Ok(Err(format!(
            "the packages {} do not run here: {reason}",
            packages.join(", ")
        )));
    }
    folder::remove(&target).map_err(|source| Error::folder(&target, "replace", source))?;
    fs::rename(&building, &target).map_err(|source| Error::folder(&target, "make", source))?;
    Ok(unpacked(kind, &target, &options.search))
}

/// The program in a folder of unpacked packages.
pub(crate) fn unpacked(kind: Kind, root: &Path, search: &Search) -> Result<Program, String> {
    if !root.join(LIST).is_file() {
        return Err(format!("nothing fetched in {}", root.display()));
    }
    if kind == Kind::ZooKeeper {
        return zookeeper::unpacked(root, search);
    }
    let mut folders = vec![root.join("usr/bin"), root.join("usr/sbin")];
    let mut versions: Vec<PathBuf> = list(&root.join("usr/lib/postgresql"));
    versions.sort();
    folders.extend(versions.into_iter().rev().map(|version| version.join("bin")));
    // `lib` itself and the folders per architecture, as in lib/x86_64-linux-gnu.
    let bases = [root.join("usr/lib"), root.join("lib")];
    let architectures = bases.iter().flat_map(|base| list(base)).filter(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().contains("-linux-gnu"))
    });
    let libraries: Vec<PathBuf> = architectures.collect();
    let path = folders
        .into_iter()
        .map(|folder| folder.join(kind.program()))
        .find(|path| path.is_file());
    let path = path.ok_or_else(|| format!("no `{}` in {}", kind.program(), root.display()))?;
    Program::inspect(path, libraries)
}

fn list(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

/// The distribution's package client with a state folder of its own.
struct Client<'a> {
    get: PathBuf,
    cache: PathBuf,
    deb: PathBuf,
    home: PathBuf,
    options: &'a Options,
}

impl<'a> Client<'a> {
    /// # Errors
    /// What is missing.
    fn find(options: &'a Options) -> Result<Client<'a>, String> {
        let program = |name: &str| {
            let reason = format!("no package client: `{name}` is not on PATH (needed: Debian's or Ubuntu's)");
            options.search.program(name).ok_or(reason)
        };
        let (get, cache, deb) = (program("apt-get")?, program("apt-cache")?, program("dpkg-deb")?);
        let client = Client {
            get,
            cache,
            deb,
            home: options.cache_dir.join("apt"),
            options,
        };
        client
            .copy_index()
            .map_err(|error| format!("cannot prepare {}: {error}", client.home.display()))?;
        Ok(client)
    }

    /// Starts from the system's own index of packages when it is newer than ours: no network is needed for it.
    fn copy_index(&self) -> std::io::Result<()> {
        let (system, ours) = (Path::new("/var/lib/apt/lists"), self.home.join("state/lists"));
        fs::create_dir_all(ours.join("partial"))?;
        fs::create_dir_all(self.home.join("cache/archives/partial"))?;
        for path in list(system).iter().filter(|path| path.is_file()) {
            let Some(name) = path.file_name().filter(|name| *name != "lock") else {
                continue;
            };
            let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
            if modified(path) > modified(&ours.join(name)) {
                // Unreadable parts belong to sources that a plain user may not see.
                let _ = fs::copy(path, ours.join(name));
            }
        }
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        for option in [
            option("Dir::State", &self.home.join("state")),
            option("Dir::State::status", Path::new("/var/lib/dpkg/status")),
            option("Dir::Cache", &self.home.join("cache")),
            "Debug::NoLocking=1".to_owned(),
            "APT::Get::List-Cleanup=0".to_owned(),
            "Acquire::Retries=1".to_owned(),
            "Acquire::http::Timeout=20".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        if Uid::effective().is_root() {
            // The client would drop to a user who cannot write to our folder.
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn run(&self, mut command: Command) -> Result<String, String> {
        let words: Vec<_> = command
            .get_args()
            .skip_while(|word| *word == "-o" || word.to_string_lossy().contains('='))
            .collect();
        let name = command.get_program().to_string_lossy().into_owned();
        let shown = format!(
            "{name} {}",
            words
                .iter()
                .map(|word| word.to_string_lossy())
                .collect::<Vec<_>>()
                .join(" ")
        );
        let output = command.output().map_err(|error| format!("{shown}: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said
            .lines()
            .filter(|line| !line.trim().is_empty())
            .take(4)
            .collect::<Vec<_>>()
            .join("; ");
        Err(format!("`{shown}` says: {said}"))
    }

    /// Brings our index up to date. Some of the machine's sources may be out of reach without harm, so the client's
    /// exit code does not decide; whether the package is found afterwards does.
    fn update(&self) -> Result<(), String> {
        self.options
            .say("asking the distribution's mirrors for their index of packages");
        let mut command = self.command(&self.get);
        command.args(["-qq", "update"]);
        self.run(command).map(drop).or_else(|reason| {
            let any = list(&self.home.join("state/lists"))
                .iter()
                .any(|path| path.to_string_lossy().contains("_Packages"));
            if any { Ok(()) } else { Err(reason) }
        })
    }

    /// The packages to fetch, as `name=version`.
    fn resolve(&self, kind: Kind) -> Result<Vec<String>, String> {
        let mut reasons = Vec::new();
        for package in kind.debian_packages() {
            let names = match *package {
                // Debian's `redis-server` is a link into the second package.
                "redis-server" => vec!["redis-server".to_owned(), "redis-tools".to_owned()],
                "postgresql" => match self.postgres_of_the_distribution() {
                    Some(name) => vec![name],
                    None => continue,
                },
                "libzookeeper-java" => self.zookeeper_of_the_distribution(),
                name => vec![name.to_owned()],
            };
            let mut command = self.command(&self.get);
            command
                .args([
                    "-qq",
                    "--simulate",
                    "--no-install-recommends",
                    "install",
                    "--reinstall",
                ])
                .args(&names);
            match self.run(command) {
                // Of what an archive or a Java depends on, a server loads what was asked for.
                Ok(plan) => return Ok(wanted(&plan, &names, kind != Kind::ZooKeeper)),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons.join("\n"))
    }

    /// `postgresql` only points to the version that the distribution ships.
    fn postgres_of_the_distribution(&self) -> Option<String> {
        self.pointed_to("postgresql", "postgresql-")
    }

    /// The archives by the packages that hold them, and a Java where the machine has none.
    fn zookeeper_of_the_distribution(&self) -> Vec<String> {
        let java = match zookeeper::java(&self.options.search) {
            Some(_) => None,
            None => self.pointed_to("default-jre-headless", "openjdk-"),
        };
        zookeeper::PACKAGES
            .iter()
            .map(|name| (*name).to_owned())
            .chain(java)
            .collect()
    }

    /// The first package that `package` depends on whose name begins like that.
    fn pointed_to(&self, package: &str, start: &str) -> Option<String> {
        let mut command = self.command(&self.cache);
        command.args(["depends", package]);
        let said = self.run(command).ok()?;
        said.lines()
            .find_map(|line| {
                line.trim()
                    .strip_prefix("Depends: ")
                    .filter(|name| name.starts_with(start))
            })
            .map(str::to_owned)
    }

    /// Downloads `packages` (the client checks their signatures) and unpacks them into `root`.
    fn unpack(&self, packages: &[String], root: &Path) -> Result<(), String> {
        let debs = root.join(".debs");
        fs::create_dir_all(&debs).map_err(|error| format!("cannot make {}: {error}", debs.display()))?;
        let download = || {
            let mut command = self.command(&self.get);
            command
                .current_dir(&debs)
                .args(["-qq", "download"])
                .args(packages);
            self.run(command)
        };
        // An index that names versions which the mirror has dropped since is too old.
        download().or_else(|_| self.update().and_then(|()| download()))?;
        for deb in list(&debs) {
            let mut command = Command::new(&self.deb);
            command.arg("-x").arg(&deb).arg(root);
            self.run(command)?;
        }
        let _ = folder::remove(&debs);
        relink(root, &root.join("usr/lib/jvm"));
        // The servers may run as somebody else.
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())
    }
}

/// Java's settings are links from `/`, where nothing was installed: they are made to lead to what was unpacked.
fn relink(root: &Path, folder: &Path) {
    for path in list(folder) {
        let Ok(target) = fs::read_link(&path) else {
            if path.is_dir() {
                relink(root, &path);
            }
            continue;
        };
        let (Ok(target), Ok(inside)) = (target.strip_prefix("/"), path.strip_prefix(root)) else {
            continue;
        };
        if root.join(target).exists() {
            let up: PathBuf = inside.components().skip(1).map(|_| "..").collect();
            // A link that stays as it was shows when the server is started.
            let _ = fs::remove_file(&path).and_then(|()| std::os::unix::fs::symlink(up.join(target), &path));
        }
    }
}

/// What to fetch of a simulated installation: the packages asked for and, where those matter, the libraries that it would
/// bring along.
fn wanted(plan: &str, asked: &[String], libraries: bool) -> Vec<String> {
    let install = |line: &str| {
        let rest = line.strip_prefix("Inst ")?;
        let name = rest.split(' ').next()?;
        let version = rest.split('(').nth(1)?.split(' ').next()?;
        let plain = name.split(':').next()?;
        let library = libraries && plain.starts_with("lib") && !unused(plain);
        (library || asked.iter().any(|asked| asked == plain)).then(|| format!("{name}={version}"))
    };
    plan.lines().filter_map(install).collect()
}

/// Whether a library is one that these servers do not load: the C library has to be the system's own, the JIT is off,
/// and the rest belongs to Perl, to headers and to programs around.
fn unused(library: &str) -> bool {
    let start = [
        "libc6",
        "libc-bin",
        "libc-dev",
        "libc-l10n",
        "libllvm",
        "libperl",
        "libgdbm",
        "libjson-perl",
    ];
    start.iter().any(|start| library.starts_with(start))
        || library.ends_with("-dev")
        || library.ends_with("-perl")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "\
Inst libjemalloc2 (5.3.0-1 Debian:12.11/stable [amd64])
Inst libc-ares2 (1.18.1-3 Debian:12.11/stable [amd64])
Inst libpq-dev (15.13-0 Debian:12.11/stable [amd64])
Inst libjson-perl (4.10000-1 Debian:12.11/stable [all])
Inst libc6 [2.36-9] (2.36-10 Debian-Security:12/stable-security [amd64])
Inst libllvm14 (1:14.0.6-12 Debian:12.11/stable [amd64])
Inst libperl5.36 (5.36.0-7+deb12u2 Debian:12.11/stable [amd64])
Inst ssl-cert (1.1.2 Debian:12.11/stable [all])
Inst redis-tools (5:7.0.15-1~deb12u4 Debian:12.11/stable [amd64])
Inst redis-server [5:7.0.15-1~deb12u3] (5:7.0.15-1~deb12u4 Debian:12.11/stable [amd64]) []
Conf libjemalloc2 (5.3.0-1 Debian:12.11/stable [amd64])
";

    #[test]
    fn the_packages_asked_for_and_their_libraries_are_fetched_and_nothing_else() {
        let asked = ["redis-server".to_owned(), "redis-tools".to_owned()];
        let fetched = wanted(PLAN, &asked, true);
        assert_eq!(
            fetched,
            [
                "libjemalloc2=5.3.0-1",
                "libc-ares2=1.18.1-3",
                "redis-tools=5:7.0.15-1~deb12u4",
                "redis-server=5:7.0.15-1~deb12u4"
            ]
        );
        assert_eq!(
            wanted(PLAN, &asked, false),
            [
                "redis-tools=5:7.0.15-1~deb12u4",
                "redis-server=5:7.0.15-1~deb12u4"
            ]
        );
    }

    #[test]
    fn links_from_the_root_lead_to_what_was_unpacked() {
        let root = tempfile::tempdir().unwrap();
        let (conf, etc) = (
            root.path().join("usr/lib/jvm/17/conf"),
            root.path().join("etc/17"),
        );
        fs::create_dir_all(&conf).unwrap();
        fs::create_dir_all(&etc).unwrap();
        fs::write(etc.join("java.security"), "rules").unwrap();
        std::os::unix::fs::symlink("/etc/17/java.security", conf.join("java.security")).unwrap();
        std::os::unix::fs::symlink("/etc/elsewhere", conf.join("other")).unwrap();
        relink(root.path(), &root.path().join("usr/lib/jvm"));
        assert_eq!(fs::read_to_string(conf.join("java.security")).unwrap(), "rules");
        assert_eq!(
            fs::read_link(conf.join("java.security")).unwrap(),
            Path::new("../../../../../etc/17/java.security")
        );
        assert_eq!(
            fs::read_link(conf.join("other")).unwrap(),
            Path::new("/etc/elsewhere")
        );
    }

    #[test]
    fn a_folder_without_its_list_is_unfinished() {
        let root = tempfile::tempdir().unwrap();
        assert!(
            unpacked(Kind::Redis, root.path(), &Search::default())
                .unwrap_err()
                .contains("nothing fetched")
        );
        fs::write(root.path().join(LIST), "").unwrap();
        assert!(
            unpacked(Kind::Redis, root.path(), &Search::default())
                .unwrap_err()
                .contains("no `redis-server`")
        );
    }
}
