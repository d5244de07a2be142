//! Shared by the integration tests: a cache that the servers' user can enter, and a small seed.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use services::{Mode, Options, PostgresSeed};
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
