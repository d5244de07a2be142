//! Servers that are left running: they outlive their starter, are found by a later process, and end when told.

use std::process::{Command, Stdio};

use rstest::rstest;
use services::{Error, Kind, Life, Mode, Options, Owner, State, start};

mod support;
use support::cache;

/// Not a test of its own: the others run it as `services up`.
#[tokio::test]
#[ignore = "run as a child by the other tests"]
async fn up() {
    let Some(root) = std::env::var_os("SERVICES_TEST_UP") else {
        return;
    };
    let root = std::path::PathBuf::from(root);
    let mut options = Options {
        mode: Mode::Local,
        detached: true,
        ..Options::with_cache(&root)
    };
    let mut servers = Vec::new();
    for kind in [
        Kind::Postgres,
        Kind::Redis,
        Kind::PgBouncer,
        Kind::Etcd,
        Kind::ZooKeeper,
        Kind::DynamoDb,
    ] {
        let server = start(kind, &options, &[]).await.unwrap();
        if kind == Kind::Postgres {
            options.upstream = Some(server.endpoint.clone());
        }
        servers.push(server.detach().unwrap());
    }
    State { servers }.save(&root.join("state.json")).unwrap();
}

fn run_up(root: &std::path::Path) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "up", "--ignored"])
        .env("SERVICES_TEST_UP", root)
        .stdout(Stdio::null());
    assert!(child.status().unwrap().success());
}

#[tokio::test]
async fn servers_left_running_are_found_used_and_ended_by_another_process() {
    let root = cache();
    run_up(root.path());
    let options = Options {
        mode: Mode::Local,
        ..Options::with_cache(root.path())
    };
    let file = root.path().join("state.json");
    let mut state = State::load(&file).unwrap();
    assert_eq!(
        state.servers.iter().map(|server| server.kind).collect::<Vec<_>>(),
        Kind::ALL
    );
    // The starter is dead, and still nothing of it is to be recovered.
    assert_eq!(services::recover(&options).await, services::Recovered::default());
    assert_eq!(state.bury(&options).await, []);
    for server in &state.servers {
        assert!(server.is_alive().await, "{}", server.kind);
    }
    state.endpoint(Kind::Redis).unwrap().probe().await.unwrap();

    let endpoints: Vec<_> = state
        .servers
        .iter()
        .map(|server| server.endpoint.clone())
        .collect();
    state.stop(&options).await;
    state.save(&file).unwrap();
    assert!(!file.exists());
    for endpoint in endpoints {
        assert!(
            endpoint.probe().await.is_err(),
            "{} still answers",
            endpoint.address()
        );
    }
    assert_eq!(std::fs::read_dir(root.path().join("runs")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_dead_one_is_buried_and_the_others_stay() {
    let root = cache();
    run_up(root.path());
    let options = Options {
        mode: Mode::Local,
        ..Options::with_cache(root.path())
    };
    let mut state = State::load(&root.path().join("state.json")).unwrap();
    let text = std::fs::read_to_string(root.path().join("state.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let process: Owner = serde_json::from_value(json["servers"][1]["record"]["process"].clone()).unwrap();
    services::process::signal_group(process.pid, services::process::Signal::SIGKILL);
    while process.life() != Life::Dead {
        tokio::task::yield_now().await;
    }
    assert!(!state.servers[1].is_alive().await);
    assert_eq!(state.bury(&options).await, [Kind::Redis]);
    assert_eq!(state.servers.len(), Kind::ALL.len() - 1);
    state.stop(&options).await;
}

#[tokio::test]
async fn a_server_that_ends_with_its_process_cannot_be_left_running() {
    let root = cache();
    let options = Options {
        mode: Mode::Local,
        ..Options::with_cache(root.path())
    };
    let server = start(Kind::Redis, &options, &[]).await.unwrap();
    let process = Owner::of(server.pid().unwrap()).unwrap();
    assert!(matches!(
        server.detach(),
        Err(Error::NotDetachable { kind: Kind::Redis })
    ));
    assert_eq!(process.life(), Life::Dead);
}

#[rstest]
#[case("")]
#[case("{")]
#[case("{\"servers\": [{\"kind\": \"mysql\"}]}")]
fn a_broken_state_file_is_told_with_its_name(#[case] text: &str) {
    let root = cache();
    let file = root.path().join("state.json");
    std::fs::write(&file, text).unwrap();
    let error = State::load(&file).unwrap_err();
    assert!(
        matches!(error, Error::State { .. }) && error.to_string().contains("state.json"),
        "{error}"
    );
    assert_eq!(
        State::load(&root.path().join("absent.json")).unwrap(),
        State::default()
    );
}
