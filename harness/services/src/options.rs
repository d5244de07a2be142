//! What a caller decides.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use nix::unistd::Uid;

use crate::endpoint::Endpoint;
use crate::folder;
use crate::kind::Mode;
use crate::owner::Owner;
use crate::pgbouncer::Bouncer;

/// Takes progress lines: long work, in one short sentence each, without a line end.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// What a caller decides; [`Options::default`] is right for a run on a terminal, but silent.
#[derive(Clone)]
pub struct Options {
    /// Which ways are tried.
    pub mode: Mode,
    /// What is kept between runs: fetched packages, seeded clusters. By default `WAR_STORIES_CACHE`, else
    /// `war-stories` in the user's cache folder (for root `/var/cache`, because the servers drop root and must be able
    /// to enter it).
    pub cache_dir: PathBuf,
    /// Where the servers' temporary data go, each in a folder of its own that is removed at the end. By default in
    /// memory where there is plenty of it (a cluster has a thousand small files, and disks differ by a factor of ten in
    /// making them), else beside the cache.
    pub run_dir: PathBuf,
    /// Takes progress lines; by default nobody.
    pub say: Say,
    /// PostgreSQL: `max_connections`; by default 100.
    pub max_connections: u32,
    /// PostgreSQL: further settings, `name` and `value`; they win over the built-in ones.
    pub postgres_settings: Vec<(String, String)>,
    /// PgBouncer: the PostgreSQL behind it.
    pub upstream: Option<Endpoint>,
    /// PgBouncer: in front of this instead, with these settings.
    pub bouncer: Option<Bouncer>,
    /// PgBouncer: `default_pool_size`, server connections per role and database; by default 4.
    pub pool_size: u32,
    /// Whether the server is to outlive this process: no parent-death signal. Needed for
    /// [`Server::detach`](crate::Server::detach), since the signal can only be chosen at the start.
    pub detached: bool,
    /// Where is looked; tests narrow it.
    pub search: Search,
}

/// Where programs and the container daemon are looked for.
#[derive(Clone, Debug)]
pub struct Search {
    /// Instead of the environment's `PATH`.
    pub path: Option<OsString>,
    /// Whether installed servers count; `false` forces fetched ones.
    pub installed: bool,
    /// Whether the distributions' usual folders are looked at beside `PATH`.
    pub usual_folders: bool,
    /// Instead of the environment's `DOCKER_HOST` and the usual sockets, as in `unix:///run/docker.sock`.
    pub daemon: Option<String>,
}

impl Default for Search {
    fn default() -> Search {
        Search {
            path: None,
            installed: true,
            usual_folders: true,
            daemon: None,
        }
    }
}

impl Search {
    /// The folders of `PATH`.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let path = self
            .path
            .clone()
            .or_else(|| std::env::var_os("PATH"))
            .unwrap_or_default();
        std::env::split_paths(&path)
            .filter(|folder| folder.is_absolute())
            .collect()
    }

    /// A program of the system, by its name, on `PATH` alone.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        self.folders()
            .into_iter()
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    }
}

impl Default for Options {
    fn default() -> Options {
        Options::with_cache(default_cache())
    }
}

impl Options {
    /// The default options with another cache folder, and the run's data beside it.
    pub fn with_cache(cache_dir: impl Into<PathBuf>) -> Options {
        let cache_dir = cache_dir.into();
        Options {
            mode: Mode::Auto,
            run_dir: memory()
                .unwrap_or_else(|| cache_dir.join("runs"))
                .join(format!("war-stories-{}", Owner::this())),
            cache_dir,
            say: Arc::new(|_| {}),
            max_connections: 100,
            postgres_settings: Vec::new(),
            upstream: None,
            bouncer: None,
            pool_size: 4,
            detached: false,
            search: Search::default(),
        }
    }

    pub(crate) fn say(&self, line: impl AsRef<str>) {
        (self.say)(line.as_ref());
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("mode", &self.mode)
            .field("cache_dir", &self.cache_dir)
            .field("run_dir", &self.run_dir)
            .field("detached", &self.detached)
            .field("search", &self.search)
            .finish_non_exhaustive()
    }
}

/// A file system in memory with room for some databases, on a machine that can spare it.
fn memory() -> Option<PathBuf> {
    const GIB: u64 = 1 << 30;
    let shared = PathBuf::from("/dev/shm");
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available = line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024;
    (available >= 4 * GIB && folder::free_bytes(&shared)? >= 2 * GIB).then_some(shared)
}

fn default_cache() -> PathBuf {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if let Some(folder) = absolute("WAR_STORIES_CACHE") {
        return folder;
    }
    let user = absolute("XDG_CACHE_HOME").or_else(|| {
        if Uid::effective().is_root() {
            return Some(PathBuf::from("/var/cache"));
        }
        let home = absolute("HOME")?;
        Some(home.join(if cfg!(target_os = "macos") {
            "Library/Caches"
        } else {
            ".cache"
        }))
    });
    match user {
        Some(folder) => folder.join("war-stories"),
        // Nobody's home: the user's number keeps two such users apart.
        None => std::env::temp_dir().join(format!("war-stories-{}", Uid::effective())),
    }
}
