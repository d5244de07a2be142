//! The tap before the real server, asked by the SDK as the service wraps it: what passes is what the server says, and what
//! it adds is what DynamoDB would do.
//!
//! These are tests of the grader, with nobody graded: `cargo test --package hot-partition-hidden --test tap`.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::time::Duration;

use harness::dynamodb::{DynamoDb, Limit, Refusal};
use hot_partition_hidden::reference::{PartStore, Row, StoreError};
use serde_json::Value;
use tokio::runtime::Handle;

struct Bed {
    db: DynamoDb,
    /// Through the tap, and past it.
    tapped: PartStore,
    direct: PartStore,
    _server: Server,
}

/// The program that `services` starts for a grade. It is started here by hand: what grades links none of `services`.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Server {
    fn start(port: u16) -> Server {
        static BUILT: OnceLock<PathBuf> = OnceLock::new();
        let program = BUILT.get_or_init(|| {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let output = Command::new(cargo)
                .args(["build", "--package", "dynamodb", "--message-format=json"])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            let messages = said
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut programs = messages.filter_map(|message| Some(message["executable"].as_str()?.into()));
            programs.next().expect("cargo builds the server")
        });
        Server(Command::new(program).arg(port.to_string()).spawn().unwrap())
    }
}

async fn bed() -> Bed {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let server = Server::start(port);
    let up = harness::eventually(Duration::from_secs(20), "the server's first answer", async || {
        DynamoDb::at("127.0.0.1", port, &harness_thread()).await.ok()
    });
    let db = up.await.unwrap();
    db.admin().await.unwrap().create_table("events").await.unwrap();
    let tapped = PartStore::connect(&db.url(), "events");
    let direct = PartStore::connect(&format!("http://127.0.0.1:{port}"), "events");
    Bed {
        db,
        tapped,
        direct,
        _server: server,
    }
}

/// The runtime of what belongs to the grader, on a thread of its own as in a check.
fn harness_thread() -> Handle {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    HANDLE.get_or_init(harness::harness_runtime).clone()
}

fn row(pk: &str, sk: &str, val: &str) -> Row {
    let [pk, sk, val] = [pk, sk, val].map(str::to_owned);
    Row { pk, sk, val }
}

fn limit(write_units: f64, read_units: f64) -> Option<Limit> {
    Some(Limit {
        write_units,
        read_units,
    })
}

#[tokio::test]
async fn conditions_hold_through_the_tap_as_without_it() {
    let bed = bed().await;
    for store in [&bed.tapped, &bed.direct] {
        let pk = format!("{store:p}");
        assert_eq!(store.cas(&pk, "a", None, "1").await, Ok(true));
        assert_eq!(store.cas(&pk, "a", None, "2").await, Ok(false));
        assert_eq!(store.cas(&pk, "a", Some("0"), "2").await, Ok(false));
        assert_eq!(store.cas(&pk, "a", Some("1"), "3").await, Ok(true));
        assert_eq!(store.get(&pk, "a").await, Ok(Some("3".to_owned())));
        assert_eq!(store.put(&pk, "a", "4").await, Ok(()));
        assert_eq!(store.delete(&pk, "a").await, Ok(()));
        assert_eq!(store.get(&pk, "a").await, Ok(None));
    }
    let counts = bed.db.tap().counts();
    assert_eq!((counts.writes, counts.reads, counts.in_flight), (6, 2, 0));
    assert_eq!(
        (
            counts.of("PutItem"),
            counts.of("DeleteItem"),
            counts.of("GetItem")
        ),
        (5, 1, 2)
    );
    assert_eq!(counts.errors.get("ConditionalCheckFailedException"), Some(&2));
    // A condition that fails costs what the write would have.
    assert_eq!(bed.db.tick().write_units.iter().sum::<f64>(), 6.0);
}

#[tokio::test]
async fn pages_of_the_server_are_followed_through_the_tap_as_without_it() {
    let bed = bed().await;
    // Two megabytes: the server answers with one at most.
    let rows: Vec<Row> = (0..20)
        .map(|n| row("large", &format!("{n:03}"), &"x".repeat(100_000)))
        .collect();
    assert_eq!(bed.tapped.put_many(&rows).await, Ok(Vec::new()));
    let keys = |rows: Vec<Row>| rows.into_iter().map(|row| row.sk).collect::<Vec<_>>();
    for (after, limit) in [(None, 100), (None, 3), (Some("015"), 100), (Some("000"), 5)] {
        let tapped = keys(bed.tapped.query("large", after, limit).await.unwrap());
        assert_eq!(
            tapped,
            keys(bed.direct.query("large", after, limit).await.unwrap())
        );
    }
    let all = keys(bed.tapped.query("large", None, 100).await.unwrap());
    assert_eq!((all.len(), all[0].as_str()), (20, "019"));
    assert_eq!(bed.tapped.count("large").await, bed.direct.count("large").await);
    assert!(
        bed.db.tap().counts().of("Query") > 7,
        "{:?}",
        bed.db.tap().counts()
    );
}

#[tokio::test]
async fn a_batch_goes_through_as_far_as_there_is_capacity() {
    let bed = bed().await;
    let rows = [row("a", "1", "x"), row("a", "2", "x"), row("b", "1", "x")];
    bed.db.limit(limit(1.0, 100.0));
    let left = bed.tapped.put_many(&rows).await.unwrap();
    assert_eq!(left, [row("a", "2", "x")]);
    assert_eq!(bed.direct.count("a").await, Ok(1));
    assert_eq!(bed.direct.count("b").await, Ok(1));
    assert_eq!(bed.tapped.put_many(&left).await, Err(StoreError::Throttled));
    assert_eq!(bed.db.tap().counts().throttled, 2);
    bed.db.tick();
    assert_eq!(bed.tapped.put_many(&left).await, Ok(Vec::new()));
}

#[tokio::test]
async fn keys_for_which_nothing_is_left_are_unprocessed() {
    let bed = bed().await;
    let rows = [row("a", "1", "x"), row("b", "1", "y")];
    bed.direct.put_many(&rows).await.unwrap();
    let keys = ["a", "b", "c"].map(|pk| (pk.to_owned(), "1".to_owned()));
    let sorted = |mut rows: Vec<Row>| {
        rows.sort_by(|x, y| x.pk.cmp(&y.pk));
        rows
    };
    let found = bed.tapped.get_many(&keys).await.unwrap();
    assert_eq!(sorted(found.rows), rows);
    assert!(found.unprocessed.is_empty());
    bed.db.tick();
    bed.db.limit(limit(100.0, 1.0));
    assert_eq!(bed.tapped.get("a", "1").await, Ok(Some("x".to_owned())));
    assert_eq!(bed.tapped.get("a", "1").await, Err(StoreError::Throttled));
    let found = bed.tapped.get_many(&keys).await.unwrap();
    assert_eq!(found.rows, [row("b", "1", "y")]);
    assert_eq!(found.unprocessed, [("a".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn one_key_is_refused_and_others_go_on() {
    let bed = bed().await;
    bed.db.limit(limit(10.0, 100.0));
    let mut taken = 0;
    for n in 0..15 {
        match bed.tapped.cas("hot", &n.to_string(), None, "x").await {
            Ok(true) => taken += 1,
            Err(StoreError::Throttled) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(taken, 10);
    assert_eq!(bed.tapped.put("cold", "1", "x").await, Ok(()));
    let window = bed.db.tick();
    assert_eq!((window.keys, window.throttled.iter().sum::<u64>()), (2, 5));
    assert_eq!(bed.direct.count("hot").await, Ok(10));
}

#[tokio::test]
async fn faults_reach_the_caller_and_nobody_tries_again_behind_its_back() {
    let bed = bed().await;
    for (refusal, told) in [
        (Refusal::Throttled, StoreError::Throttled),
        (
            Refusal::Unavailable,
            StoreError::Unavailable("InternalServerError".to_owned()),
        ),
    ] {
        let before = bed.db.tap().counts();
        let refused = bed.db.tap().refuse_the(2, refusal);
        assert_eq!(bed.tapped.get("a", "1").await, Ok(None));
        assert_eq!(bed.tapped.get("a", "1").await, Err(told));
        assert_eq!(bed.tapped.get("a", "1").await, Ok(None));
        assert_eq!(refused.matched(), 1);
        assert_eq!(bed.db.tap().counts().since(&before).reads, 3);
    }
    let lost = bed
        .db
        .tap()
        .lose_reply(|request| request.touches("a") && request.writes());
    let told = bed.tapped.put("a", "1", "x").await;
    assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
    drop(lost);
    assert_eq!(
        bed.tapped.get("a", "1").await,
        Ok(Some("x".to_owned())),
        "it was done"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_or_is_silent_is_told_apart_and_comes_back() {
    let bed = bed().await;
    let tap = bed.db.tap();
    assert_eq!(bed.tapped.get("a", "1").await, Ok(None));
    let silent = tap.black_hole();
    let asked = tokio::time::timeout(Duration::from_millis(300), bed.tapped.get("a", "1"));
    assert!(asked.await.is_err(), "a silent server says nothing");
    drop(silent);
    assert_eq!(bed.tapped.get("a", "1").await, Ok(None));
    let refusing = tap.refuse();
    tap.cut_all();
    let told = bed.tapped.get("a", "1").await;
    assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
    drop(refusing);
    assert_eq!(bed.tapped.get("a", "1").await, Ok(None));
}
