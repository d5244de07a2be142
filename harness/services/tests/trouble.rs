//! Machines that lack something, and what is said about it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rstest::rstest;
use services::{Error, How, Kind, Mode, Options, Search, start};
use tempfile::TempDir;

mod support;
use support::cache;

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

/// A daemon without images whose registry never says a word, or refuses at once.
struct Silent {
    socket: PathBuf,
    _folder: TempDir,
}

fn daemon(pull: &'static str) -> Silent {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut request = vec![0; 8192];
                while let Ok(read @ 1..) = stream.read(&mut request) {
                    let head = String::from_utf8_lossy(&request[..read]).into_owned();
                    let line = head.lines().next().unwrap_or_default();
                    let (status, body) = if line.contains("/images/create") {
                        if pull.is_empty() {
                            std::thread::sleep(Duration::from_secs(60));
                        }
                        ("500 Internal Server Error", pull)
                    } else if line.contains("/version") {
                        ("200 OK", "{\"Version\":\"0.0\",\"ApiVersion\":\"1.41\"}")
                    } else if line.contains("/containers/json") {
                        ("200 OK", "[]")
                    } else if line.contains("/volumes") {
                        ("200 OK", "{\"Volumes\":[],\"Warnings\":[]}")
                    } else {
                        ("404 Not Found", "{\"message\":\"no such image\"}")
                    };
                    let kind = "Content-Type: application/json";
                    let reply = format!(
                        "HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    if stream.write_all(reply.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Silent {
        socket,
        _folder: folder,
    }
}

#[cfg(feature = "containers")]
#[rstest]
#[case::a_registry_that_is_silent("", "sent nothing for 1.7 s")]
#[case::a_registry_that_is_unknown("{\"message\":\"dial tcp: no such host\"}", "no such host")]
#[tokio::test]
async fn a_daemon_without_image_and_registry_is_given_up_within_two_seconds(
    #[case] pull: &'static str,
    #[case] reason: &str,
) {
    let root = cache();
    let silent = daemon(pull);
    let search = Search {
        daemon: Some(format!("unix://{}", silent.socket.display())),
        ..Search::default()
    };
    let options = Options {
        search,
        ..Options::with_cache(root.path())
    };
    let begin = Instant::now();
    let server = start(Kind::Redis, &options, &[]).await.unwrap();
    assert!(begin.elapsed() - server.startup < Duration::from_millis(100));
    assert!(
        server.startup < Duration::from_secs(2) + Duration::from_millis(300),
        "{:?}",
        server.startup
    );
    assert!(matches!(server.how, How::Local { .. }), "{:?}", server.how);
    assert!(server.reason.contains(reason), "{}", server.reason);

    // The next one does not ask again so soon; whoever wants containers and nothing else does.
    let again = start(Kind::Redis, &options, &[]).await.unwrap();
    assert!(again.startup < Duration::from_secs(1), "{:?}", again.startup);
    assert!(again.reason.contains("asked again after"), "{}", again.reason);
    let error = start(
        Kind::Redis,
        &Options {
            mode: Mode::Containers,
            ..options
        },
        &[],
    )
    .await
    .unwrap_err();
    assert!(
        error.to_string().contains(reason) && !error.to_string().contains("asked again"),
        "{error}"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_between_choosing_and_binding_is_no_matter() {
    // Ports are chosen by the system, so a server is put on a taken one by a program that lies once.
    let root = cache();
    let bin = root.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let mark = root.path().join("lied");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] || [ -e {mark} ] || {{ : >{mark}; \
         echo 'bind: Address already in use'; exit 1; }}\nexec redis-server \"$@\"\n",
        mark = mark.display()
    );
    // As root the server's user must be able to make the mark.
    std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    program(
        &bin.join("redis-server"),
        &script.replace("exec redis-server", "exec /usr/bin/redis-server"),
    );
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
