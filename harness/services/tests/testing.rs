//! The helper for smoke tests: a database per test, one server per process, gone at its end.

use std::process::{Command, Stdio};

use pgwire::{Client, Config};
use services::testing::{Database, postgres, postgres_with};
use services::{Life, Owner};

/// Parts of a URL, as a driver would take it apart.
fn config(database: &Database) -> Config {
    let url = database.url();
    let rest = url
        .strip_prefix("postgres://")
        .unwrap()
        .strip_suffix("?sslmode=disable")
        .unwrap();
    let (user, rest) = rest.split_once(':').unwrap();
    let (password, rest) = rest.split_once('@').unwrap();
    let (address, name) = rest.split_once('/').unwrap();
    let (host, port) = address.split_once(':').unwrap();
    let [host, user, password, database] = [host, user, password, name].map(str::to_owned);
    Config {
        host,
        port: port.parse().unwrap(),
        user,
        password,
        database,
    }
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own_inside_an_asynchronous_test_too() {
    let (one, two) = (postgres(), postgres_with("CREATE TABLE t AS SELECT 7 AS n"));
    assert_ne!(one.name(), two.name());
    let mut client = Client::connect(&config(&one)).await.unwrap();
    client.query("CREATE TABLE t (n int)").await.unwrap();
    let mut client = Client::connect(&config(&two)).await.unwrap();
    assert_eq!(
        client.query("SELECT n FROM t").await.unwrap()[0].text(0),
        Some("7")
    );
    let powers = client
        .query("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        .await
        .unwrap();
    assert_eq!(powers[0].text(0), Some("f"));
    // Dropped with somebody still inside.
    let config = config(&two);
    drop(two);
    assert!(Client::connect(&config).await.is_err());
}

#[test]
#[should_panic(expected = "the seed: PostgreSQL")]
fn a_seed_that_is_refused_fails_the_test() {
    drop(postgres_with("SELECT nonsense"));
}

/// Not a test of its own: the last one runs it as a whole test program.
#[test]
#[ignore = "run as a child by `the_server_ends_with_the_test_program`"]
fn program() {
    if std::env::var_os("SERVICES_TEST_PROGRAM").is_none() {
        return;
    }
    let database = postgres();
    let config = config(&database);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(&config).await.unwrap();
        let rows = client
            .query("SELECT current_setting('data_directory'), inet_server_port()")
            .await;
        // Not for everybody's eyes: the owner of a database may not see where the server's files are.
        assert_eq!(rows.unwrap_err().sqlstate(), Some("42501"));
    });
    let folder = std::fs::read_dir(format!("/proc/{}/task", std::process::id())).unwrap();
    let pids: Vec<String> = folder
        .flatten()
        .flat_map(|task| {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            children
                .split_ascii_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    println!("PIDS {}", pids.join(" "));
}

#[test]
#[cfg(target_os = "linux")]
fn the_server_ends_with_the_test_program() {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "program", "--ignored", "--nocapture"])
        .env("SERVICES_TEST_PROGRAM", "1")
        // A process is looked for; a container's end is seen by the tests of containers.
        .env("WAR_STORIES_SERVICES", "local")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let this = Owner::of(child.id()).unwrap();
    let mut processes = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
    {
        if let Some((_, pids)) = line.split_once("PIDS ") {
            processes.extend(pids.split(' ').filter_map(|pid| Owner::of(pid.parse().ok()?)));
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(processes.len(), 1, "the server is the program's only child");
    assert_eq!(processes[0].life(), Life::Dead);
    let options = services::Options::default();
    let record = options.cache_dir.join("runs").join(this.to_string());
    assert!(!record.exists(), "{record:?} is left");
}
