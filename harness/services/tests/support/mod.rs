//! Shared by the integration tests: a cache that the servers' user can enter, and a small seed.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use services::{How, Kind, Mode, Options, PostgresSeed, start};
use tempfile::TempDir;

/// An empty cache. Open to all, since as root the servers run as somebody else.
pub fn cache() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    root
}

/// The options of most tests: one cache for all programs and runs, in the target folder of the build.
pub fn options(mode: Mode) -> Options {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    let mut options = Options {
        mode,
        ..Options::with_cache(cache)
    };
    options.run_dir.as_mut_os_string().push(unique());
    options
}

/// Redis for `cache`, which may have nothing yet, without the time that fetching it takes: where this machine has none, it
/// is fetched once for all tests. Its program, and the folders with libraries of its own.
pub async fn lend_redis(cache: &Path) -> (PathBuf, Vec<PathBuf>) {
    let options = options(Mode::Local);
    let server = start(Kind::Redis, &options, &[]).await.unwrap();
    let path = match &server.how {
        How::Local { path } => return (path.clone(), Vec::new()),
        How::Fetched { path } => path.clone(),
        How::Container { .. } => panic!("{:?}", server.how),
    };
    let shelf = options.cache_dir.join("fetched");
    std::os::unix::fs::symlink(&shelf, cache.join("fetched")).unwrap();
    let libraries = ["usr/lib", "lib"]
        .iter()
        .filter_map(|base| std::fs::read_dir(shelf.join("redis").join(base)).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .collect();
    (path, libraries)
}

fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    format!("-test-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A thousand rows.
pub fn people() -> PostgresSeed {
    let sql = "CREATE TABLE person (id bigint PRIMARY KEY, name text NOT NULL);
               INSERT INTO person SELECT n, 'person ' || n FROM generate_series(1, 1000) AS n;";
    PostgresSeed {
        name: "people".to_owned(),
        sql: sql.to_owned(),
    }
}
