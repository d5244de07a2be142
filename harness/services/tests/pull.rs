//! A container daemon that answers but has no image, and no registry that would send one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rstest::rstest;
use services::{How, Kind, Mode, Options, Search, start};
use tempfile::TempDir;

mod support;
use support::{cache, lend_redis};

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

#[rstest]
#[case::a_registry_that_is_silent("", "sent nothing for 1.7 s")]
#[case::a_registry_that_is_unknown("{\"message\":\"dial tcp: no such host\"}", "no such host")]
#[tokio::test]
async fn a_daemon_without_image_and_registry_is_given_up_within_two_seconds(
    #[case] pull: &'static str,
    #[case] reason: &str,
) {
    let root = cache();
    lend_redis(root.path()).await;
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
    assert!(!matches!(server.how, How::Container { .. }), "{:?}", server.how);
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
