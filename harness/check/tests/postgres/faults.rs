//! Faults do what they say, and are undone.

use super::support::{SOON, bed, pool};
use harness::postgres::{Kind, Rule, Verdict};
use harness::within;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[tokio::test]
async fn a_held_request_has_not_been_done_and_a_held_reply_has() {
    let bed = bed().await;
    let pool = bed.pool(2).await;
    let insert = |id: i64| {
        let pool = pool.clone();
        tokio::spawn(async move {
            sqlx::query("INSERT INTO t VALUES ($1, 'a')")
                .bind(id)
                .execute(&pool)
                .await
        })
    };
    let gate = bed.tap().hold_requests(|r| r.runs("insert into t"));
    let (first, second) = (insert(1), insert(2));
    gate.until_waiting(2, SOON).await.unwrap();
    assert_eq!(bed.truth("SELECT count(*) FROM t").await, "0");
    assert_eq!(bed.tap().counts().in_flight, 2);
    assert!(gate.release_one());
    bed.tap()
        .until("one done", SOON, |counts| counts.in_flight == 1)
        .await
        .unwrap();
    gate.open();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    drop(gate);

    let gate = bed.tap().hold_replies(|r| r.runs("insert into t"));
    let third = insert(3);
    gate.until_waiting(1, SOON).await.unwrap();
    assert_eq!(bed.truth("SELECT count(*) FROM t").await, "3");
    assert!(!third.is_finished());
    assert_eq!(bed.tap().counts().in_flight, 1);
    drop(gate);
    third.await.unwrap().unwrap();
    pool.close().await;
    bed.finish().await;
}

#[tokio::test]
async fn a_lost_reply_to_commit_was_committed() {
    for (extended, id) in [(false, 1_i64), (true, 2)] {
        let bed = bed().await;
        let pool = bed.pool(1).await;
        let lost = bed.tap().lose_reply(|r| r.runs("commit"));
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("INSERT INTO t VALUES ($1, 'a')")
            .bind(id)
            .execute(&mut *tx)
            .await
            .unwrap();
        let ended = if extended {
            let ended = sqlx::query("COMMIT")
                .persistent(false)
                .execute(&mut *tx)
                .await
                .map(|_| ());
            drop(tx);
            ended
        } else {
            tx.commit().await
        };
        assert!(ended.is_err());
        assert_eq!(bed.truth("SELECT count(*) FROM t").await, "1");
        assert_eq!(lost.matched(), 1);
        drop(lost);
        // The pool recovers.
        sqlx::query("SELECT 2").execute(&pool).await.unwrap();
        pool.close().await;
        bed.finish().await;
    }
}

#[tokio::test]
async fn a_cut_before_commit_rolls_back() {
    let bed = bed().await;
    let pool = bed.pool(1).await;
    let cut = bed.tap().cut_before(|r| r.runs("commit"));
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("INSERT INTO t VALUES (1, 'a')")
        .execute(&mut *tx)
        .await
        .unwrap();
    assert!(tx.commit().await.is_err());
    bed.tap()
        .until("the server's end", SOON, |counts| counts.sessions_open == 0)
        .await
        .unwrap();
    assert_eq!(bed.truth("SELECT count(*) FROM t").await, "0");
    drop(cut);
    pool.close().await;
    bed.finish().await;
}

#[tokio::test]
async fn a_held_reply_does_not_stop_the_clients_side() {
    let bed = bed().await;
    let mut client = pgwire::Client::connect(bed.tap().config()).await.unwrap();
    let gate = bed.tap().hold_replies(|r| r.runs("select 2"));
    let asking = tokio::spawn(async move { client.query("SELECT 2").await });
    gate.until_waiting(1, SOON).await.unwrap();
    asking.abort();
    bed.tap()
        .until("the client's end", SOON, |counts| counts.connections_open == 0)
        .await
        .unwrap();
    drop(gate);
    bed.tap()
        .until("the end", SOON, |counts| counts.sessions_open == 0)
        .await
        .unwrap();
    bed.finish().await;
}

#[tokio::test]
async fn a_held_request_does_not_hide_that_the_client_has_gone() {
    let bed = bed().await;
    let mut client = pgwire::Client::connect(bed.tap().config()).await.unwrap();
    let gate = bed.tap().hold_requests(|r| r.runs("insert"));
    let asking = tokio::spawn(async move { client.query("INSERT INTO t VALUES (1, 'a')").await });
    gate.until_waiting(1, SOON).await.unwrap();
    asking.abort();
    bed.tap()
        .until("the client's end", SOON, |counts| counts.connections_open == 0)
        .await
        .unwrap();
    // It was on its way, and arrives.
    drop(gate);
    bed.tap()
        .until("the end", SOON, |counts| counts.sessions_open == 0)
        .await
        .unwrap();
    assert_eq!(bed.truth("SELECT count(*) FROM t").await, "1");
    bed.finish().await;
}

#[tokio::test]
async fn refusing_and_silence_end_with_their_guards() {
    let bed = bed().await;
    let refusing = bed.tap().refuse();
    assert!(sqlx::PgPool::connect(&bed.pg.url()).await.is_err());
    drop(refusing);
    let pool = bed.pool(1).await;

    let silence = bed.tap().black_hole();
    let asking = tokio::spawn({
        let pool = pool.clone();
        async move { sqlx::query("SELECT 2").execute(&pool).await }
    });
    bed.tap()
        .until("a message", SOON, |counts| counts.client_frames > 0)
        .await
        .unwrap();
    let connecting = tokio::spawn({
        let config = bed.tap().config().clone();
        async move { pgwire::Client::connect(&config).await }
    });
    bed.tap()
        .until("an attempt", SOON, |counts| counts.connections_total == 2)
        .await
        .unwrap();
    assert!(!asking.is_finished() && !connecting.is_finished());
    drop(silence);
    within(SOON, "an answer", asking).await.unwrap().unwrap().unwrap();
    within(SOON, "a connection", connecting)
        .await
        .unwrap()
        .unwrap()
        .unwrap();

    bed.tap().cut_all();
    bed.tap()
        .until("the end", SOON, |c| {
            c.connections_open == 0 && c.sessions_open == 0
        })
        .await
        .unwrap();
    sqlx::query("SELECT 2").execute(&pool).await.ok();
    sqlx::query("SELECT 2").execute(&pool).await.unwrap();
    pool.close().await;
    bed.finish().await;
}

#[tokio::test]
async fn a_silenced_connection_says_nothing_and_others_go_on() {
    let bed = bed().await;
    let pool = bed.pool(2).await;
    let silenced = bed.tap().rule(Rule::on_request(|r| {
        if r.runs("select 666") {
            Verdict::Silence
        } else {
            Verdict::Pass
        }
    }));
    let asking = tokio::spawn({
        let pool = pool.clone();
        async move { sqlx::query("SELECT 666").execute(&pool).await }
    });
    silenced.until_matched(1, SOON).await.unwrap();
    sqlx::query("SELECT 2").execute(&pool).await.unwrap();
    assert!(!asking.is_finished());
    asking.abort();
    bed.tap().cut_all();
    bed.tap()
        .until("the end", SOON, |counts| counts.sessions_open == 0)
        .await
        .unwrap();
    pool.close().await;
    bed.finish().await;
}

#[tokio::test]
async fn delays_keep_the_order_and_frames_can_be_watched() {
    let bed = bed().await;
    let pool = bed.pool(1).await;
    let called = Arc::new(AtomicUsize::new(0));
    let counting = called.clone();
    let watching = bed.tap().on_frame(2, move || {
        counting.fetch_add(1, Ordering::Relaxed);
    });
    let slow = bed
        .tap()
        .delay(|r| r.kind == Kind::Execute, Duration::from_millis(20));
    let begun = std::time::Instant::now();
    let two: i32 = sqlx::query_scalar("SELECT 1 + 1").fetch_one(&pool).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(20));
    assert_eq!((two, called.load(Ordering::Relaxed), slow.matched()), (2, 1, 1));
    drop((watching, slow));
    pool.close().await;
    let mut client = pgwire::Client::connect(bed.tap().config()).await.unwrap();
    let cut = bed.tap().cut_at_frame(2);
    client.query("SELECT 2").await.unwrap();
    assert!(client.query("SELECT 3").await.is_err());
    drop(cut);
    bed.finish().await;
}

/// As a check of concurrent duplicates uses it: each connection's first statement waits until several have come.
#[tokio::test]
async fn first_statements_can_be_made_to_meet() {
    let bed = bed().await;
    let other = bed.pg.another_tap().await.unwrap();
    let seen = std::sync::Mutex::new(std::collections::HashSet::new());
    let gate = bed
        .tap()
        .hold_requests(move |r| r.runs_data() && seen.lock().unwrap().insert(r.connection));
    let pool_a = bed.pool(2).await;
    let pool_b = pool(&other.url(), 1).await;
    let mut all = Vec::new();
    for _ in 0..2 {
        let pool = pool_a.clone();
        all.push(tokio::spawn(async move {
            sqlx::query("SELECT 2").execute(&pool).await.unwrap()
        }));
    }
    gate.until_waiting(2, SOON).await.unwrap();
    sqlx::query("SELECT 2").execute(&pool_b).await.unwrap();
    gate.open();
    for one in all {
        one.await.unwrap();
    }
    sqlx::query("SELECT 2").execute(&pool_a).await.unwrap();
    assert_eq!(gate.matched(), 2);
    drop(gate);
    pool_a.close().await;
    pool_b.close().await;
    bed.finish().await;
}
