//! Machines that lack something, and what is said about it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rstest::rstest;
use services::{Error, How, Kind, Mode, Options, Search, start};

mod support;
use support::{cache, lend_redis};

/// Nothing is installed, no package client, no daemon.
fn bare() -> Search {
    let daemon = Some("unix:///nonexistent/docker.sock".to_owned());
    Search {
        path: Some("/nonexistent/bin".into()),
        usual_folders: false,
        daemon,
        ..Search::default()
    }
}

#[rstest]
#[case(Kind::Postgres, Mode::Auto, "apt-get install postgresql")]
#[case(Kind::Redis, Mode::Auto, "apt-get install redis-server")]
#[case(Kind::Etcd, Mode::Local, "apt-get install etcd-server")]
#[case(Kind::ZooKeeper, Mode::Local, "apt-get install zookeeper")]
#[case(Kind::Redis, Mode::Containers, "docker pull redis:7.0-bookworm")]
#[cfg_attr(target_os = "macos", ignore = "the commands are those of Debian")]
#[tokio::test]
async fn a_bare_machine_is_told_what_was_looked_for_where_and_what_to_type(
    #[case] kind: Kind,
    #[case] mode: Mode,
    #[case] next: &str,
) {
    let root = cache();
    let options = Options {
        mode,
        search: bare(),
        ..Options::with_cache(root.path())
    };
    let begin = Instant::now();
    let error = start(kind, &options, &[]).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    let words = error.to_string();
    assert!(words.contains(next), "{words}");
    let local = mode != Mode::Containers;
    assert_eq!(words.contains("on PATH (/nonexistent/bin)"), local, "{words}");
    assert_eq!(words.contains("no package client: `apt-get`"), local, "{words}");
    assert_eq!(words.contains("containers:"), mode != Mode::Local, "{words}");
}

#[tokio::test]
async fn a_port_that_is_taken_between_choosing_and_binding_is_no_matter() {
    // Ports are chosen by the system, so a server is put on a taken one by a program that lies once.
    let root = cache();
    let bin = root.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let mark = root.path().join("lied");
    let (redis, libraries) = lend_redis(root.path()).await;
    let libraries = std::env::join_paths(libraries).unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] || [ -e {mark} ] || {{ : >{mark}; \
         echo 'bind: Address already in use'; exit 1; }}\nLD_LIBRARY_PATH={libraries} exec {redis} \"$@\"\n",
        mark = mark.display(),
        libraries = libraries.display(),
        redis = redis.display(),
    );
    // As root the server's user must be able to make the mark.
    std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    program(&bin.join("redis-server"), &script);
    let search = Search {
        path: Some(bin.clone().into_os_string()),
        usual_folders: false,
        ..Search::default()
    };
    let options = Options {
        mode: Mode::Local,
        search,
        ..Options::with_cache(root.path())
    };
    let server = start(Kind::Redis, &options, &[]).await.unwrap();
    server.check_alive().await.unwrap();
    assert!(mark.exists());
}

#[tokio::test]
async fn a_server_that_dies_at_once_is_told_with_its_last_words() {
    let root = cache();
    let bin = root.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'Redis server v=7.0.1' && exit\necho 'no good reason'; exit 3\n";
    program(&bin.join("redis-server"), script);
    let search = Search {
        path: Some(bin.into_os_string()),
        usual_folders: false,
        ..Search::default()
    };
    let options = Options {
        mode: Mode::Local,
        search,
        ..Options::with_cache(root.path())
    };
    let begin = Instant::now();
    let words = start(Kind::Redis, &options, &[]).await.unwrap_err().to_string();
    assert!(
        words.contains("exit code 3") && words.contains("| no good reason"),
        "{words}"
    );
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

fn program(path: &Path, script: &str) {
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_full_disk_is_told_before_anything_breaks() {
    if !nix::unistd::Uid::effective().is_root() {
        // Only root can make a tiny disk. CI runs these tests as root as well.
        return;
    }
    let root = cache();
    let tiny = root.path().join("tiny");
    std::fs::create_dir(&tiny).unwrap();
    let mount = |words: &[&str]| {
        let status = std::process::Command::new(words[0])
            .args(&words[1..])
            .arg(&tiny)
            .status();
        assert!(status.unwrap().success(), "{words:?}");
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=20m,mode=755", "tmpfs"]);
    let full = Options {
        mode: Mode::Local,
        ..Options::with_cache(&tiny)
    };
    let cluster = start(Kind::Postgres, &full, &[]).await;
    let mut run = Options {
        mode: Mode::Local,
        ..Options::with_cache(root.path())
    };
    run.run_dir = tiny.join("runs");
    let copy = start(Kind::Postgres, &run, &[]).await;
    mount(&["umount"]);
    for result in [cluster, copy] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        assert!(error.to_string().contains("MiB are needed"), "{error}");
    }
}

#[tokio::test]
async fn a_cache_that_the_servers_user_cannot_enter_is_told() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let closed = tempfile::tempdir().unwrap();
    std::fs::set_permissions(closed.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let cache_dir = closed.path().join("cache");
    let options = Options {
        mode: Mode::Local,
        run_dir: cache_dir.join("runs"),
        ..Options::with_cache(cache_dir)
    };
    let error = start(Kind::Postgres, &options, &[]).await.unwrap_err();
    assert!(matches!(error, Error::OutOfReach { .. }), "{error}");
    assert!(error.to_string().contains("WAR_STORIES_CACHE"), "{error}");
}

/// The real package client and the distribution's real mirrors. Without them (or off Debian) it fails.
#[rstest]
#[case(Kind::Postgres)]
#[case(Kind::Redis)]
#[case(Kind::PgBouncer)]
#[case(Kind::Etcd)]
#[case(Kind::ZooKeeper)]
#[ignore = "fetches packages from the distribution's mirrors"]
#[tokio::test]
async fn a_server_is_fetched_where_none_is_installed(#[case] kind: Kind) {
    let mut options = support::options(Mode::Local);
    options.cache_dir = options.cache_dir.with_file_name("fetched-cache");
    options.search.installed = false;
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = said.clone();
    options.say = Arc::new(move |line| heard.lock().unwrap().push(line.to_owned()));
    let upstream = match kind {
        Kind::PgBouncer => Some(start(Kind::Postgres, &options, &[]).await.unwrap()),
        _ => None,
    };
    options.upstream = upstream.as_ref().map(|server| server.endpoint.clone());
    let server = start(kind, &options, &[]).await.unwrap();
    println!(
        "{} in {:?}; {:?}",
        server.reason,
        server.startup,
        said.lock().unwrap()
    );
    let How::Fetched { path } = &server.how else {
        panic!("{:?}", server.how)
    };
    assert!(path.starts_with(&options.cache_dir), "{path:?}");
    server.check_alive().await.unwrap();
    let again = start(kind, &options, &[]).await.unwrap();
    println!("from the cache in {:?}", again.startup);
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_leaves_no_folder_of_the_run() {
    let root = cache();
    let options = Options {
        mode: Mode::Local,
        run_dir: root.path().join("run"),
        ..Options::with_cache(root.path().join("cache"))
    };
    // Where the run writes down what it has, something else is in the way.
    let records = options
        .cache_dir
        .join("runs")
        .join(services::Owner::this().to_string());
    for number in 1..100 {
        std::fs::create_dir_all(records.join(format!("redis-{number}.half"))).unwrap();
    }
    let error = start(Kind::Redis, &options, &[]).await.unwrap_err();
    assert!(matches!(error, Error::Folder { .. }), "{error}");
    assert!(!options.run_dir.exists());
}

#[tokio::test]
async fn empty_folders_of_dead_runs_are_removed_and_no_others() {
    let root = cache();
    let this = services::Owner::this();
    let dead = services::Owner {
        started: "1-00000000".to_owned(),
        ..this.clone()
    };
    let elsewhere = services::Owner {
        place: "elsewhere".to_owned(),
        ..dead.clone()
    };
    let full = services::Owner {
        started: "2-00000000".to_owned(),
        ..this.clone()
    };
    let folder = |owner: &services::Owner| root.path().join(format!("war-stories-{owner}"));
    for owner in [this, &dead, &elsewhere, &full] {
        std::fs::create_dir(folder(owner)).unwrap();
    }
    std::fs::write(folder(&full).join("data"), "somebody's").unwrap();
    let options = Options {
        mode: Mode::Local,
        run_dir: folder(this),
        ..Options::with_cache(root.path().join("cache"))
    };
    services::recover(&options).await;
    assert_eq!(
        [this, &dead, &elsewhere, &full].map(|owner| folder(owner).exists()),
        [true, false, true, true]
    );
}
