//! Cached clusters on this machine: one folder each, made in another place and renamed when finished, never started.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{SUPERUSER, command, endpoint, seed};
use crate::find::Program;
use crate::kind::Kind;
use crate::lock::Lock;
use crate::options::Options;
use crate::owner::Owner;
use crate::process::{self, Signal};
use crate::record::Record;
use crate::running::{self, Running, last_lines};
use crate::user::Runner;
use crate::{Error, PostgresSeed, background, folder, secret};

/// Counts up when clusters are made differently, so that old ones are not used.
const FORMAT: u32 = 1;

/// What a cached cluster says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    format: u32,
    version: String,
    /// Of the superuser, until a run gives its copy another.
    password: String,
    /// Template databases, with the fingerprints of their seeds.
    pub(crate) templates: BTreeMap<String, String>,
    bytes: u64,
}

/// A cached cluster that is chosen; nobody removes it while `L` is a lock.
pub(crate) struct Cached<L = Lock> {
    folder: PathBuf,
    pub(crate) password: String,
    pub(crate) bytes: u64,
    /// Whether it was made just now.
    pub(crate) fresh: bool,
    _lock: L,
}

impl<L> Cached<L> {
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }
}

impl Cached<Lock> {
    /// Keeps what is known of it and lets others change the cache.
    pub(crate) fn unlock(self) -> Cached<()> {
        let Cached {
            folder,
            password,
            bytes,
            fresh,
            _lock,
        } = self;
        Cached {
            folder,
            password,
            bytes,
            fresh,
            _lock: (),
        }
    }
}

impl Cached<()> {
    /// Throws a damaged one away.
    pub(crate) fn discard(&self, options: &Options) -> Result<(), Error> {
        let _lock = Lock::to_change(&home(options), options, "uses the database cache")?;
        folder::remove(&self.folder).map_err(|source| Error::folder(&self.folder, "remove", source))
    }
}

fn home(options: &Options) -> PathBuf {
    options.cache_dir.join("clusters")
}

/// A cached cluster that holds the templates of `seeds`, made first when there is none.
pub(crate) async fn ready(
    program: &Program,
    options: &Options,
    runner: &Runner,
    seeds: &[PostgresSeed],
) -> Result<Cached, Error> {
    seeds.iter().try_for_each(PostgresSeed::check)?;
    let wanted: BTreeMap<String, String> = seeds
        .iter()
        .map(|seed| (seed.name.clone(), seed.fingerprint()))
        .collect();
    let home = home(options);
    let mut fresh = false;
    loop {
        let lock = background::blocking(|| Lock::to_read(&home, options, "fills the database cache"))?;
        if let Some((folder, about)) = covering(&home, program, &wanted) {
            return Ok(Cached {
                folder,
                password: about.password,
                bytes: about.bytes,
                fresh,
                _lock: lock,
            });
        }
        drop(lock);
        let lock = background::blocking(|| Lock::to_change(&home, options, "fills the database cache"))?;
        // Somebody else may have made it between the two locks.
        if covering(&home, program, &wanted).is_none() {
            make(program, options, runner, seeds, &wanted).await?;
            fresh = true;
        }
        drop(lock);
    }
}

/// The smallest cached cluster of this version that holds at least `wanted`.
fn covering(home: &Path, program: &Program, wanted: &BTreeMap<String, String>) -> Option<(PathBuf, About)> {
    let covers = |about: &About| {
        wanted
            .iter()
            .all(|(name, print)| about.templates.get(name) == Some(print))
    };
    let all = list(home)
        .into_iter()
        .filter(|(_, about)| usable(about, program) && covers(about));
    all.min_by_key(|(_, about)| about.bytes)
}

/// The largest cached cluster whose templates are all among `wanted`: a start for one that holds more.
fn covered(home: &Path, program: &Program, wanted: &BTreeMap<String, String>) -> Option<(PathBuf, About)> {
    let covered = |about: &About| {
        about
            .templates
            .iter()
            .all(|(name, print)| wanted.get(name) == Some(print))
    };
    let all = list(home)
        .into_iter()
        .filter(|(_, about)| usable(about, program) && covered(about));
    all.max_by_key(|(_, about)| about.templates.len())
}

fn usable(about: &About, program: &Program) -> bool {
    about.format == FORMAT && about.version == program.version
}

/// All finished clusters; a folder that does not describe itself, or holds no cluster, is none.
pub(crate) fn list(home: &Path) -> Vec<(PathBuf, About)> {
    let entries = fs::read_dir(home)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let read = |folder: PathBuf| {
        let about = serde_json::from_slice(&fs::read(folder.join("about.json")).ok()?).ok()?;
        let whole = ["PG_VERSION", "global/pg_control"]
            .iter()
            .all(|file| folder.join("data").join(file).is_file());
        whole.then_some((folder, about))
    };
    entries.filter_map(read).collect()
}

/// Makes a cluster with the wanted templates and puts it into the cache. The caller holds the lock.
async fn make(
    program: &Program,
    options: &Options,
    runner: &Runner,
    seeds: &[PostgresSeed],
    wanted: &BTreeMap<String, String>,
) -> Result<(), Error> {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let home = home(options);
    let start = Instant::now();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Built where it will be kept, so that it can be renamed.
    let building = Options {
        run_dir: home.join(format!(".building-{}-{number}", Owner::this())),
        ..options.clone()
    };
    let building = Options {
        detached: false,
        ..building
    };
    let record = Record::open(Kind::Postgres, &building, runner)?;
    let data = record.data.join("data");

    let base = covered(&home, program, wanted);
    let (password, there) = match &base {
        Some((folder, about)) => {
            let copied = background::blocking(|| {
                running::expect_space("the cached database cluster", &record.data, about.bytes * 2)?;
                let copied = folder::copy(&folder.join("data"), &data, runner);
                copied.map_err(|source| Error::folder(&data, "copy a cluster to", source))
            });
            copied.inspect_err(|_| record.close())?;
            (about.password.clone(), about.templates.clone())
        }
        None => {
            options.say("preparing a PostgreSQL cluster, once");
            let password = secret::password();
            let made = background::blocking(|| initdb(program, &record, runner, &password));
            made.inspect_err(|_| record.close())?;
            (password, BTreeMap::new())
        }
    };

    let make_command = |port| seeding(command(program, &data, port, &building));
    let make_endpoint = |port| endpoint(port, &password);
    let (mut running, endpoint, _) =
        Running::start(record, &building, runner, make_command, make_endpoint).await?;
    if base.is_none() {
        seed::prepare(&endpoint).await?;
    }
    for seed in seeds.iter().filter(|seed| !there.contains_key(&seed.name)) {
        options.say(format!("seeding template database `{}`, once", seed.name));
        seed::plant(&endpoint, seed).await?;
    }
    background::blocking(|| finish(&mut running, program, &home, password, wanted))?;
    options.say(format!(
        "cached the PostgreSQL cluster after {:.1} s",
        start.elapsed().as_secs_f32()
    ));
    Ok(())
}

/// Little of the log that seeding writes is worth copying for ever after.
fn seeding(mut command: Command) -> Command {
    command.args([
        "-c",
        "min_wal_size=32MB",
        "-c",
        "max_wal_size=1GB",
        "-c",
        "wal_level=minimal",
    ]);
    command.args(["-c", "max_wal_senders=0"]);
    command
}

/// Stops the server as one that has nothing to recover, and moves its data to their place.
fn finish(
    running: &mut Running,
    program: &Program,
    home: &Path,
    password: String,
    templates: &BTreeMap<String, String>,
) -> Result<(), Error> {
    if !running.ask_to_end(Signal::SIGINT, Duration::from_secs(60)) {
        let (kind, program, log) = (
            Kind::Postgres,
            program.path.display().to_string(),
            running.last_lines(),
        );
        let last = "it does not shut down".to_owned();
        return Err(Error::Silent {
            kind,
            program,
            waited: Duration::from_secs(60),
            last,
            log,
        });
    }
    let building = running.record.data.clone();
    let bytes = folder::bytes(&building.join("data"));
    let about = About {
        format: FORMAT,
        version: program.version.clone(),
        password,
        templates: templates.clone(),
        bytes,
    };
    let text = serde_json::to_vec_pretty(&about).expect("plain data");
    let key = secret::password();
    let target = home.join(format!("postgres-{}-{}", program.version, &key[..8]));
    let write = || {
        let _ = fs::remove_file(building.join("server.log"));
        fs::write(building.join("about.json"), text)?;
        fs::rename(&building, &target)
    };
    write().map_err(|source| Error::folder(&target, "make", source))?;
    running.end();
    Ok(())
}

fn initdb(program: &Program, record: &Record, runner: &Runner, password: &str) -> Result<(), Error> {
    running::expect_space("a new database cluster", &record.data, 96 << 20)?;
    let secret = record.data.join("password");
    fs::write(&secret, password)
        .and_then(|()| runner.own(&secret))
        .map_err(|source| Error::folder(&secret, "write", source))?;
    let mut command = program.command("initdb");
    command
        .arg("-D")
        .arg(record.data.join("data"))
        .arg(format!("--pwfile={}", secret.display()));
    // The C collation sorts alike everywhere; nothing may depend on the machine's languages.
    command.args([
        &format!("--username={SUPERUSER}"),
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    command.args(["--auth-local=reject", "--auth-host=password"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .current_dir(&record.data);
    runner.apply(&mut command);
    let name = command.get_program().to_string_lossy().into_owned();
    let output = process::spawn(command, Signal::SIGKILL).and_then(|child| child.wait_with_output());
    let failed = |status: String, log: String| Error::Died {
        kind: Kind::Postgres,
        program: name.clone(),
        status,
        log,
        next: "read the output above".to_owned(),
    };
    let output = output.map_err(|error| failed(format!("it cannot be started: {error}"), String::new()))?;
    let _ = fs::remove_file(&secret);
    if output.status.success() {
        return Ok(());
    }
    let log = last_lines(&output.stderr);
    if log.contains("No space left on device") {
        return Err(Error::no_space("a new database cluster", &record.data, 96 << 20));
    }
    Err(failed(output.status.to_string(), log))
}

#[cfg(test)]
mod tests;
