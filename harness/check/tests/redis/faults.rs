//! Faults do what they say, and are undone.

use super::support::{SOON, bed, connect};
use harness::sweep::Points;
use harness::within;
use redis::{AsyncCommands, RedisResult};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[tokio::test]
async fn a_held_command_has_not_been_done_and_a_held_reply_has() {
    let bed = bed().await;
    let connection = bed.connection().await;
    let set = |key: &'static str| {
        let mut connection = connection.clone();
        tokio::spawn(async move { connection.set::<_, _, ()>(key, 1).await })
    };
    let gate = bed.tap().hold_requests(|r| r.is("set"));
    let first = set("a");
    gate.until_waiting(1, SOON).await.unwrap();
    assert_eq!(bed.truth("a").await, None);
    assert_eq!(bed.tap().counts().in_flight, 1);
    assert!(gate.release_one());
    first.await.unwrap().unwrap();
    drop(gate);

    let gate = bed.tap().hold_replies(|r| r.is("SET") && r.mentions("B"));
    let second = set("b");
    gate.until_waiting(1, SOON).await.unwrap();
    assert_eq!(bed.truth("b").await.as_deref(), Some("1"));
    assert!(!second.is_finished());
    assert_eq!(bed.tap().counts().in_flight, 1);
    drop(gate);
    second.await.unwrap().unwrap();
    drop(connection);
    bed.finish().await;
}

#[tokio::test]
async fn what_was_cut_before_was_not_done_and_what_was_cut_after_was() {
    let bed = bed().await;
    for (key, done) in [
        ("before", false),
        ("after", true),
        ("reply", true),
        ("third", false),
    ] {
        let mut connection = bed.connection().await;
        let guard = match key {
            "before" => bed.tap().cut_before(|r| r.is("SET")),
            "after" => bed.tap().cut_after(|r| r.is("SET")),
            "reply" => bed.tap().lose_reply(|r| r.is("SET")),
            _ => {
                let guard = bed.tap().cut_at_frame(3);
                let _: Option<i64> = connection.get("x").await.unwrap();
                let _: Option<i64> = connection.get("y").await.unwrap();
                guard
            }
        };
        let set: RedisResult<()> = connection.set(key, 1).await;
        assert!(set.is_err(), "{key}");
        guard.until_matched(1, SOON).await.unwrap();
        drop(guard);
        // What was passed on is done in its own time, before what comes later on another connection or not.
        let found = within(SOON, "the truth", async {
            while done && bed.truth(key).await.is_none() {
                tokio::task::yield_now().await;
            }
            bed.truth(key).await
        });
        assert_eq!(found.await.unwrap().is_some(), done, "{key}");
        drop(connection);
    }
    assert_eq!(bed.tap().counts().in_flight, 0);
    bed.finish().await;
}

#[tokio::test]
async fn a_link_that_is_refused_silent_or_cut_recovers() {
    let bed = bed().await;
    let mut connection = bed.connection().await;
    let refused = bed.tap().refuse();
    assert!(connect(&bed.redis.url()).await.is_err());
    let () = connection.set("open", 1).await.unwrap();
    bed.tap().cut_all();
    let lost: RedisResult<()> = connection.set("cut", 1).await;
    assert!(lost.is_err());
    drop(refused);

    let silent = bed.tap().black_hole();
    let url = bed.redis.url();
    let waiting = tokio::spawn(async move { connect(&url).await });
    bed.tap()
        .until("the connection arrived", SOON, |counts| counts.attempts >= 3)
        .await
        .unwrap();
    assert!(!waiting.is_finished());
    drop(silent);
    let mut connection = waiting.await.unwrap().unwrap();
    let silent = bed.tap().black_hole();
    let mut other = connection.clone();
    let set = tokio::spawn(async move { other.set::<_, _, ()>("silent", 1).await });
    bed.tap()
        .until("the command arrived", SOON, |counts| counts.in_flight == 1)
        .await
        .unwrap();
    assert_eq!(bed.truth("silent").await, None);
    drop(silent);
    set.await.unwrap().unwrap();
    let got: i64 = connection.get("silent").await.unwrap();
    assert_eq!(got, 1);
    drop(connection);
    bed.finish().await;
}

#[tokio::test]
async fn a_delay_delays_and_a_frame_calls_back() {
    let bed = bed().await;
    let mut connection = bed.connection().await;
    let called = Arc::new(AtomicUsize::new(0));
    let seen = called.clone();
    let callback = bed.tap().on_frame(2, move || {
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let delay = bed.tap().delay(|r| r.is("GET"), Duration::from_millis(30));
    let begun = std::time::Instant::now();
    for _ in 0..3 {
        let _: Option<i64> = connection.get("k").await.unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(90));
    assert_eq!((called.load(Ordering::Relaxed), delay.matched()), (1, 3));
    drop((callback, delay, connection));
    bed.finish().await;
}

#[tokio::test]
async fn nothing_is_a_point_before_a_sweep_begins() {
    let bed = bed().await;
    let mut connection = bed.connection().await;
    let points = Points::new();
    let _reporting = bed.tap().report_to(&points);
    let () = connection.set("unarmed", 1).await.unwrap();
    assert!(points.reached().is_empty());
    drop(connection);
    bed.finish().await;
}
