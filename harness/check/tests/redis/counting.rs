//! What the tap counts is what there was.

use super::support::{SOON, bed, connect};
use harness::redis::Client;
use redis::{AsyncCommands, Pipeline, cmd};

#[tokio::test]
async fn commands_are_counted_by_name_and_introductions_apart() {
    let bed = bed().await;
    let mut connection = bed.connection().await;
    let before = bed.tap().counts();
    for n in 0..50 {
        let () = connection.set(format!("k{n}"), n).await.unwrap();
        let got: i64 = connection.get(format!("k{n}")).await.unwrap();
        assert_eq!(got, n);
    }
    let _: redis::RedisResult<i64> = cmd("LLEN").arg("k1").query_async(&mut connection).await;
    let seen = bed.tap().counts().since(&before);
    assert_eq!(
        (seen.commands, seen.command("SET"), seen.command("GET")),
        (101, 50, 50)
    );
    assert_eq!(seen.errors["WRONGTYPE"], 1);
    assert_eq!(seen.in_flight, 0);
    // The server's own count agrees.
    let mut admin = bed.redis.admin().await.unwrap();
    let stats = admin.command(&["INFO", "commandstats"]).await.unwrap();
    let stats = String::from_utf8_lossy(stats.text().unwrap()).into_owned();
    assert!(stats.contains("cmdstat_set:calls=50,"), "{stats}");
    drop(connection);
    bed.finish().await;
}

#[tokio::test]
async fn connections_are_counted_open_at_their_peak_and_in_all() {
    let bed = bed().await;
    let first = bed.connection().await;
    let second = bed.connection().await;
    assert_eq!(bed.tap().counts().connections_open, 2);
    drop((first, second));
    bed.tap()
        .until("both closed", SOON, |counts| counts.connections_open == 0)
        .await
        .unwrap();
    let third = bed.connection().await;
    let counts = bed.tap().counts();
    assert_eq!(
        (
            counts.connections_open,
            counts.connections_peak,
            counts.connections_total
        ),
        (1, 2, 3)
    );
    drop(third);
    bed.finish().await;
}

#[tokio::test]
async fn pipelines_transactions_and_scripts_pass_as_they_are() {
    let bed = bed().await;
    for url in [bed.redis.url(), format!("{}?protocol=resp3", bed.redis.url())] {
        let mut connection = connect(&url).await.unwrap();
        let before = bed.tap().counts();
        let mut pipeline = Pipeline::new();
        pipeline.set("a", vec![b'x'; 100_000]).ignore();
        pipeline
            .get("a")
            .pttl("a")
            .hset("h", "f", 1)
            .ignore()
            .hgetall("h");
        let (a, ttl, h): (Vec<u8>, i64, Vec<(String, i64)>) =
            pipeline.query_async(&mut connection).await.unwrap();
        assert_eq!((a.len(), ttl, h), (100_000, -1, vec![("f".to_owned(), 1)]));
        let mut transaction = Pipeline::new();
        transaction.atomic().incr("n", 1).incr("n", 1);
        let counted: (i64, i64) = transaction.query_async(&mut connection).await.unwrap();
        assert_eq!(counted.1 - counted.0, 1);
        let script = "redis.call('SET', KEYS[1], ARGV[1]) return {1, redis.call('GET', KEYS[1]), false}";
        let mut eval = cmd("EVAL");
        eval.arg(script).arg(1).arg("s").arg("v");
        let said: (i64, String, Option<String>) = eval.query_async(&mut connection).await.unwrap();
        assert_eq!(said, (1, "v".to_owned(), None));
        let seen = bed.tap().counts().since(&before);
        assert_eq!(
            (seen.command("EVAL"), seen.command("MULTI"), seen.command("EXEC")),
            (1, 1, 1)
        );
        assert_eq!((seen.commands, seen.in_flight), (10, 0));
        let eval = bed
            .tap()
            .commands()
            .into_iter()
            .find(|command| command.name == "EVAL");
        assert_eq!(eval.unwrap().args[3], "s");
    }
    bed.finish().await;
}

#[tokio::test]
async fn messages_to_subscribers_pass_and_are_no_answers() {
    let bed = bed().await;
    let (sender, mut messages) = tokio::sync::mpsc::unbounded_channel();
    let client = redis::Client::open(format!("{}?protocol=resp3", bed.redis.url())).unwrap();
    let config = redis::AsyncConnectionConfig::new().set_push_sender(sender);
    let mut subscriber = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .unwrap();
    subscriber.subscribe("news").await.unwrap();
    let mut publisher = bed.connection().await;
    let heard: i64 = publisher.publish("news", "hello").await.unwrap();
    assert_eq!(heard, 1);
    loop {
        let push = messages.recv().await.unwrap();
        if push.kind == redis::PushKind::Message {
            break;
        }
    }
    let () = subscriber.set("k", 1).await.unwrap();
    let counts = bed.tap().counts();
    assert_eq!((counts.pushes, counts.in_flight), (1, 0));
    drop((subscriber, publisher));
    bed.finish().await;
}

#[tokio::test]
async fn whoever_connects_past_the_tap_is_seen() {
    let bed = bed().await;
    let mut connection = bed.connection().await;
    let () = connection.set("k", 1).await.unwrap();
    let mut admin = bed.redis.admin().await.unwrap();
    let info = admin.command(&["INFO", "server"]).await.unwrap();
    let info = String::from_utf8_lossy(info.text().unwrap()).into_owned();
    let port = info
        .lines()
        .find_map(|line| line.strip_prefix("tcp_port:"))
        .unwrap();
    let mut past = Client::connect("127.0.0.1", port.trim().parse().unwrap())
        .await
        .unwrap();
    past.command(&["PING"]).await.unwrap();
    let failure = bed.redis.finish().await.unwrap_err();
    assert!(failure.is_fail());
    assert_eq!(failure.to_string(), "1 connections were made past the tap");
}
