//! The six servers as processes of this machine: they answer, they are gone afterwards, and they die with us.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pgwire::Client;
use rstest::rstest;
use services::{Endpoint, Error, How, Kind, Life, Mode, Options, Owner, PostgresSeed, Server, start};

mod support;
use support::{cache, options, people};

#[rstest]
#[case(Kind::Postgres)]
#[case(Kind::Redis)]
#[case(Kind::PgBouncer)]
#[case(Kind::Etcd)]
#[case(Kind::ZooKeeper)]
#[case(Kind::DynamoDb)]
#[tokio::test]
async fn a_server_starts_answers_and_is_gone_afterwards(#[case] kind: Kind) {
    let mut options = options(Mode::Local);
    let upstream = upstream(kind, &options).await;
    options.upstream = upstream.as_ref().map(|server| server.endpoint.clone());

    let server = start(kind, &options, &[]).await.unwrap();
    println!("{} in {:?}", server.reason, server.startup);
    let local = matches!(server.how, How::Local { .. } | How::Fetched { .. });
    assert!(local, "{:?}", server.how);
    assert!(
        server.version.chars().next().is_some_and(|c| c.is_ascii_digit()),
        "{:?}",
        server.version
    );
    server.check_alive().await.unwrap();

    let (process, endpoint) = (Owner::of(server.pid().unwrap()).unwrap(), server.endpoint.clone());
    server.stop().await;
    assert_eq!(process.life(), Life::Dead);
    assert!(endpoint.probe().await.is_err());
    drop(upstream);
    assert_eq!(files_in(&options.run_dir), Vec::<String>::new());
}

async fn upstream(kind: Kind, options: &Options) -> Option<Server> {
    match kind {
        Kind::PgBouncer => Some(start(Kind::Postgres, options, &[]).await.unwrap()),
        _ => None,
    }
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[tokio::test]
async fn a_template_is_seeded_once_by_an_owner_without_privileges() {
    let options = options(Mode::Local);
    let first = start(Kind::Postgres, &options, &[people()]).await.unwrap();
    let Endpoint::Postgres {
        templates,
        version_num,
        ..
    } = &first.endpoint
    else {
        panic!("{:?}", first.endpoint)
    };
    assert_eq!(templates, &["people"]);
    assert!(*version_num >= 130_000);
    drop(first);

    let again = start(Kind::Postgres, &options, &[people()]).await.unwrap();
    println!("seeded before: {:?}", again.startup);
    let mut admin = Client::connect(&again.endpoint.admin("postgres").unwrap())
        .await
        .unwrap();
    admin.query("CREATE DATABASE mine TEMPLATE people").await.unwrap();
    let mut mine = Client::connect(&again.endpoint.admin("mine").unwrap())
        .await
        .unwrap();
    let rows = mine
        .query(
            "SELECT count(*) AS n, (SELECT tableowner FROM pg_tables WHERE tablename = 'person') AS owner,
                    (SELECT reltuples FROM pg_class WHERE relname = 'person') AS analyzed,
                    (SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements') AS statements,
                    (SELECT rolcanlogin OR rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = 'war_stories_seed')
                      AS powers
             FROM person",
        )
        .await
        .unwrap();
    let answer =
        ["n", "owner", "analyzed", "statements", "powers"].map(|column| rows[0].get(column).unwrap());
    assert_eq!(answer, ["1000", "war_stories_seed", "1000", "1", "f"]);
}

#[rstest]
#[case("fsync", "off")]
#[case("jit", "off")]
#[case("autovacuum", "off")]
#[case("max_parallel_workers_per_gather", "0")]
#[case("deadlock_timeout", "1s")]
#[case("max_connections", "33")]
#[case("wal_level", "replica")]
#[case("pg_stat_statements.track", "all")]
#[case("listen_addresses", "127.0.0.1")]
#[case("work_mem", "7MB")]
#[tokio::test]
async fn settings_are_pinned_and_can_be_overridden(#[case] name: &str, #[case] value: &str) {
    let mut options = options(Mode::Local);
    options.max_connections = 33;
    options
        .postgres_settings
        .push(("work_mem".to_owned(), "7MB".to_owned()));
    let server = start(Kind::Postgres, &options, &[]).await.unwrap();
    let mut admin = Client::connect(&server.endpoint.admin("postgres").unwrap())
        .await
        .unwrap();
    let rows = admin.query(&format!("SHOW {name}")).await.unwrap();
    assert_eq!(rows[0].text(0), Some(value));
}

#[tokio::test]
async fn a_role_comes_through_pgbouncer_with_its_password() {
    let mut options = options(Mode::Local);
    let postgres = start(Kind::Postgres, &options, &[]).await.unwrap();
    options.upstream = Some(postgres.endpoint.clone());
    let bouncer = start(Kind::PgBouncer, &options, &[]).await.unwrap();

    let mut admin = Client::connect(&postgres.endpoint.admin("postgres").unwrap())
        .await
        .unwrap();
    admin
        .query("CREATE ROLE app LOGIN PASSWORD 'word'")
        .await
        .unwrap();
    admin
        .query(&format!("GRANT {} TO app", Endpoint::BOUNCED_ROLES))
        .await
        .unwrap();
    let config = |password: &str| pgwire::Config {
        user: "app".to_owned(),
        password: password.to_owned(),
        ..bouncer.endpoint.admin("postgres").unwrap()
    };
    let mut app = Client::connect(&config("word")).await.unwrap();
    let rows = app
        .query("SELECT current_user || ' ' || inet_server_port()")
        .await
        .unwrap();
    assert_eq!(
        rows[0].text(0),
        Some(format!("app {}", postgres.endpoint.port()).as_str())
    );
    assert!(Client::connect(&config("wrong")).await.is_err());

    let mut console = Client::connect(&bouncer.endpoint.admin("pgbouncer").unwrap())
        .await
        .unwrap();
    let rows = console.query("SHOW CONFIG").await.unwrap();
    let setting = |key: &str| {
        let row = rows.iter().find(|row| row.get("key") == Some(key)).unwrap();
        row.get("value").unwrap_or_default().to_owned()
    };
    assert_eq!(setting("pool_mode"), "transaction");
    assert_eq!(setting("default_pool_size"), "4");
    assert_eq!(setting("ignore_startup_parameters"), "");
}

#[tokio::test]
async fn pgbouncer_without_postgres_is_told() {
    let error = start(Kind::PgBouncer, &options(Mode::Local), &[])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoUpstream), "{error}");
}

#[tokio::test]
async fn two_runs_at_once_share_the_cache_and_nothing_else() {
    // A cache of their own, so that both find it empty.
    let root = cache();
    let options = || Options {
        mode: Mode::Local,
        ..Options::with_cache(root.path())
    };
    let runs = [options(), options()].map(|options| {
        tokio::spawn(async move { start(Kind::Postgres, &options, &[people()]).await.unwrap() })
    });
    let mut servers = Vec::new();
    for run in runs {
        servers.push(run.await.unwrap());
    }
    assert_ne!(servers[0].endpoint.port(), servers[1].endpoint.port());
    for server in &servers {
        server.check_alive().await.unwrap();
    }
    let clusters = files_in(&root.path().join("clusters"));
    let finished: Vec<_> = clusters
        .iter()
        .filter(|name| name.starts_with("postgres-"))
        .collect();
    assert_eq!(finished.len(), 1, "{clusters:?}");
}

#[tokio::test]
async fn a_seed_that_is_refused_is_told_with_the_servers_words_and_leaves_nothing() {
    let root = cache();
    let options = Options {
        mode: Mode::Local,
        ..Options::with_cache(root.path())
    };
    let seed = PostgresSeed {
        name: "broken".to_owned(),
        sql: "CREATE TABLE t (a nonsense)".to_owned(),
    };
    let error = start(Kind::Postgres, &options, &[seed]).await.unwrap_err();
    assert!(
        matches!(&error, Error::Seed { template, .. } if template == "broken"),
        "{error}"
    );
    assert!(error.to_string().contains("nonsense"), "{error}");
    // The failed attempt is neither cached nor left lying about.
    let left = files_in(&root.path().join("clusters"));
    assert_eq!(left, [".lock"]);
    assert_eq!(files_in(&root.path().join("runs")), Vec::<String>::new());
}

#[rstest]
#[case::the_control_file("global/pg_control")]
#[case::the_log("pg_wal")]
#[tokio::test]
async fn a_damaged_cache_is_made_anew(#[case] damage: &str) {
    let root = cache();
    let options = Options {
        mode: Mode::Local,
        ..Options::with_cache(root.path())
    };
    start(Kind::Postgres, &options, &[]).await.unwrap().stop().await;
    let clusters = root.path().join("clusters");
    let name = files_in(&clusters)
        .into_iter()
        .find(|name| name.starts_with("postgres-"))
        .unwrap();
    let victim = clusters.join(&name).join("data").join(damage);
    if victim.is_dir() {
        std::fs::remove_dir_all(&victim).unwrap();
        std::fs::create_dir(&victim).unwrap();
    } else {
        std::fs::write(&victim, vec![0; 8192]).unwrap();
    }
    let server = start(Kind::Postgres, &options, &[]).await.unwrap();
    server.check_alive().await.unwrap();
    assert!(
        !clusters.join(name).exists(),
        "the damaged cluster is still there"
    );
}

/// Not a test of its own: the next one runs it as a process that is killed.
#[tokio::test]
#[ignore = "run as a child by `a_killed_run_leaves_nothing_that_the_next_does_not_remove`"]
async fn victim() {
    let Some(root) = std::env::var_os("SERVICES_TEST_VICTIM") else {
        return;
    };
    let mut options = Options {
        mode: Mode::Local,
        ..Options::with_cache(root)
    };
    let postgres = start(Kind::Postgres, &options, &[]).await.unwrap();
    options.upstream = Some(postgres.endpoint.clone());
    let mut servers = vec![];
    for kind in [Kind::Redis, Kind::PgBouncer, Kind::Etcd, Kind::ZooKeeper] {
        servers.push(start(kind, &options, &[]).await.unwrap());
    }
    servers.push(postgres);
    let pids: Vec<String> = servers
        .iter()
        .map(|server| server.pid().unwrap().to_string())
        .collect();
    println!("PIDS {}", pids.join(" "));
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_run_leaves_nothing_that_the_next_does_not_remove() {
    use std::io::{BufRead, BufReader};
    let root = cache();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .env("SERVICES_TEST_VICTIM", root.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let pids = lines.map(|line| line.split_once("PIDS ").map(|(_, pids)| pids.to_owned()));
    let pids = pids.flatten().next().expect("the child starts its servers");
    let processes: Vec<Owner> = pids
        .split(' ')
        .map(|pid| Owner::of(pid.parse().unwrap()).unwrap())
        .collect();
    assert_eq!(processes.len(), 5);
    child.kill().unwrap();
    child.wait().unwrap();

    let start = Instant::now();
    while processes.iter().any(|process| process.life() == Life::Alive) {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "servers outlive their killed owner"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("the last server ended {:?} after its owner", start.elapsed());

    // Data of the dead are there still; a living run's are not touched.
    let options = Options {
        mode: Mode::Local,
        ..Options::with_cache(root.path())
    };
    assert!(!files_in(&root.path().join("runs")).is_empty());
    let living = services::start(Kind::Redis, &options, &[]).await.unwrap();
    assert_eq!(files_in(&root.path().join("runs")), [Owner::this().to_string()]);
    assert_eq!(services::recover(&options).await, services::Recovered::default());
    living.check_alive().await.unwrap();
}

/// Not a test of its own: the next one runs it as a program that is interrupted.
#[tokio::test]
#[ignore = "run as a child by `an_interrupted_program_that_drops_its_work_leaves_nothing`"]
async fn interruptible() {
    let Some(root) = std::env::var_os("SERVICES_TEST_INTERRUPTED") else {
        return;
    };
    let options = Options {
        mode: Mode::Local,
        ..Options::with_cache(root)
    };
    let work = async {
        let _server = start(Kind::Redis, &options, &[]).await.unwrap();
        println!("READY");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = work => unreachable!("the work does not end"),
        signal = services::process::interrupted() => println!("GOT {}", signal.unwrap()),
    }
}

#[tokio::test]
async fn an_interrupted_program_that_drops_its_work_leaves_nothing() {
    use services::process::{Signal, signal_group};
    use std::io::{BufRead, BufReader};
    let root = cache();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "interruptible", "--ignored", "--nocapture"]);
    command
        .env("SERVICES_TEST_INTERRUPTED", root.path())
        .stdout(Stdio::piped());
    let mut child = services::process::spawn(command, Signal::SIGKILL).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(lines.any(|line| line.contains("READY")));
    signal_group(child.id(), Signal::SIGINT);
    assert!(lines.any(|line| line.contains("GOT SIGINT")));
    assert!(child.wait().unwrap().success());
    assert_eq!(files_in(&root.path().join("runs")), Vec::<String>::new());
}
