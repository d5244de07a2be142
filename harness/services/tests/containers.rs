//! The four servers as containers. These tests need a container daemon that has the images (`.ci/images/build.sh` makes
//! them where no registry answers), so they are ignored by default and fail, never skip, when they are asked for:
//!
//! `WAR_STORIES_TEST_CONTAINERS=1 cargo test -p services --test containers -- --ignored`

use std::process::{Command, Stdio};

use pgwire::Client;
use rstest::rstest;
use services::{Endpoint, How, Kind, Mode, Options, Server, State, start};

mod support;
use support::{cache, people};

/// One cache for all of these tests, and the demand that they really run.
fn options() -> Options {
    let asked = std::env::var("WAR_STORIES_TEST_CONTAINERS");
    assert_eq!(
        asked.as_deref(),
        Ok("1"),
        "set WAR_STORIES_TEST_CONTAINERS=1 where a container daemon runs"
    );
    support::options(Mode::Containers)
}

fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn id(server: &Server) -> String {
    match &server.how {
        How::Container { id, .. } => id.clone(),
        other => panic!("not a container: {other:?}"),
    }
}

#[rstest]
#[case(Kind::Postgres)]
#[case(Kind::Redis)]
#[case(Kind::PgBouncer)]
#[case(Kind::Etcd)]
#[case(Kind::ZooKeeper)]
#[case(Kind::DynamoDb)]
#[ignore = "needs a container daemon"]
#[tokio::test]
async fn a_container_starts_answers_and_is_gone_afterwards(#[case] kind: Kind) {
    let mut options = options();
    let upstream = match kind {
        Kind::PgBouncer => Some(start(Kind::Postgres, &options, &[]).await.unwrap()),
        _ => None,
    };
    options.upstream = upstream.as_ref().map(|server| server.endpoint.clone());
    let server = start(kind, &options, &[]).await.unwrap();
    println!("{} in {:?}", server.reason, server.startup);
    server.check_alive().await.unwrap();

    let id = id(&server);
    let published = docker(&["port", &id]);
    assert!(
        published.ends_with(&format!("127.0.0.1:{}", server.endpoint.port())),
        "{published}"
    );
    assert_eq!(published.lines().count(), 1, "{published}");
    // The cache's own volumes stay, the image's anonymous ones go with the container.
    let mounts = docker(&["inspect", &id, "--format", "{{range .Mounts}}{{.Name}} {{end}}"]);
    server.stop().await;
    assert_eq!(
        docker(&[
            "ps",
            "--all",
            "--quiet",
            "--no-trunc",
            "--filter",
            &format!("id={id}")
        ]),
        ""
    );
    let left = docker(&["volume", "ls", "--quiet"]);
    for name in mounts.split(' ').filter(|name| !name.is_empty()) {
        assert_eq!(left.contains(name), name.starts_with("war-stories-"), "{name}");
    }
}

#[ignore = "needs a container daemon"]
#[tokio::test]
async fn a_seeded_volume_is_made_once_and_copied() {
    let options = options();
    let first = start(Kind::Postgres, &options, &[people()]).await.unwrap();
    println!("with seeding, perhaps: {:?}", first.startup);
    drop(first);
    let again = start(Kind::Postgres, &options, &[people()]).await.unwrap();
    println!("from the volume: {:?}", again.startup);
    let mut admin = Client::connect(&again.endpoint.admin("postgres").unwrap())
        .await
        .unwrap();
    admin.query("CREATE DATABASE mine TEMPLATE people").await.unwrap();
    let mut mine = Client::connect(&again.endpoint.admin("mine").unwrap())
        .await
        .unwrap();
    let rows = mine.query("DELETE FROM person RETURNING id").await.unwrap();
    assert_eq!(rows.len(), 1000);
    let Endpoint::Postgres {
        inside, templates, ..
    } = &again.endpoint
    else {
        panic!()
    };
    assert!(inside.is_some() && templates == &["people"]);
}

#[ignore = "needs a container daemon"]
#[tokio::test]
async fn a_container_that_was_left_running_is_found_and_ended_by_another_process() {
    let root = cache();
    let options = Options {
        detached: true,
        mode: Mode::Containers,
        ..Options::with_cache(root.path())
    };
    assert_eq!(std::env::var("WAR_STORIES_TEST_CONTAINERS").as_deref(), Ok("1"));
    let server = start(Kind::Redis, &options, &[]).await.unwrap();
    let id = id(&server);
    let file = root.path().join("state.json");
    State {
        servers: vec![server.detach().unwrap()],
    }
    .save(&file)
    .unwrap();

    let mut state = State::load(&file).unwrap();
    assert!(state.servers[0].is_alive().await);
    assert_eq!(
        services::recover(&options).await,
        services::Recovered::default(),
        "it was left running on purpose"
    );
    state.stop(&options).await;
    assert_eq!(
        docker(&[
            "ps",
            "--all",
            "--quiet",
            "--no-trunc",
            "--filter",
            &format!("id={id}")
        ]),
        ""
    );
}

/// Not a test of its own: the next one runs it as a process that is killed.
#[tokio::test]
#[ignore = "run as a child by `a_killed_run_leaves_containers_that_the_next_removes`"]
async fn victim() {
    let Some(root) = std::env::var_os("SERVICES_TEST_VICTIM") else {
        return;
    };
    let options = Options {
        mode: Mode::Containers,
        ..Options::with_cache(root)
    };
    let server = start(Kind::Redis, &options, &[]).await.unwrap();
    println!("ID {}", id(&server));
    std::future::pending::<()>().await;
}

#[ignore = "needs a container daemon"]
#[tokio::test]
async fn a_killed_run_leaves_containers_that_the_next_removes() {
    use std::io::{BufRead, BufReader};
    let root = cache();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .env("SERVICES_TEST_VICTIM", root.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let id = lines
        .find_map(|line| line.split_once("ID ").map(|(_, id)| id.to_owned()))
        .expect("a container");
    child.kill().unwrap();
    child.wait().unwrap();
    let there = || {
        docker(&[
            "ps",
            "--all",
            "--quiet",
            "--no-trunc",
            "--filter",
            &format!("id={id}"),
        ])
    };
    assert_eq!(there(), id);

    // Somebody else's cache: not theirs to remove.
    let other = cache();
    let stranger = Options {
        mode: Mode::Containers,
        ..Options::with_cache(other.path())
    };
    services::recover(&stranger).await;
    assert_eq!(there(), id);

    let options = Options {
        mode: Mode::Containers,
        ..Options::with_cache(root.path())
    };
    let recovered = services::recover(&options).await;
    assert_eq!(recovered.containers, 1, "{recovered:?}");
    assert_eq!(there(), "");
}
