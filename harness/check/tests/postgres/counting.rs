//! What is counted is exact.

use super::support::{SOON, bed};
use futures_util::TryStreamExt;
use harness::postgres::Kind;
use pgwire::{frame, write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn prepared_statements_are_counted_three_times_the_same() {
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let bed = bed().await;
        let pool = bed.pool(4).await;
        let mut all = Vec::new();
        for i in 0..100_i64 {
            all.push(tokio::spawn({
                let pool = pool.clone();
                async move { sqlx::query("SELECT $1 + 1").bind(i).execute(&pool).await.unwrap() }
            }));
        }
        for one in all {
            one.await.unwrap();
        }
        pool.close().await;
        let counts = bed.tap().counts();
        assert_eq!(
            (counts.executes, counts.statements, counts.in_flight),
            (100, 100, 0)
        );
        assert_eq!(
            (counts.connections_open, counts.connections_total),
            (0, counts.parses)
        );
        assert!(
            counts.connections_peak <= 4 && counts.in_flight_peak <= 4,
            "{counts:?}"
        );
        assert!(
            bed.tap()
                .statements()
                .iter()
                .all(|s| s.sql.as_ref() == "SELECT $1 + 1" && s.data)
        );
        rounds.push(counts.executes);
        bed.finish().await;
    }
    assert_eq!(rounds, [100; 3]);
}

#[tokio::test]
async fn transactions_pings_and_settings_are_no_data_statements() {
    let bed = bed().await;
    let pool = bed.pool(1).await;
    let before = bed.tap().counts();
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("SET LOCAL lock_timeout = '1s'")
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("INSERT INTO t VALUES (1, 'a')")
        .execute(&mut *tx)
        .await
        .unwrap();
    assert_eq!(bed.tap().counts().transactions_open, 1);
    tx.commit().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    let error = sqlx::query("INSERT INTO t VALUES (1, 'b')")
        .execute(&mut *tx)
        .await
        .unwrap_err();
    assert_eq!(
        error.as_database_error().and_then(|e| e.code()).as_deref(),
        Some("23505")
    );
    tx.rollback().await.unwrap();
    sqlx::query("SELECT 1").execute(&pool).await.unwrap();
    sqlx::raw_sql("SELECT 2; SELECT 3; SET a.b = 'c'")
        .execute(&pool)
        .await
        .unwrap();
    let since = bed.tap().counts().since(&before);
    assert_eq!(
        (
            since.transactions,
            since.commits,
            since.rollbacks,
            since.transactions_open
        ),
        (2, 1, 1, 0)
    );
    assert_eq!((since.statements, since.sqlstate("23505")), (4, 1));
    pool.close().await;
    bed.finish().await;
}

#[tokio::test]
async fn a_pool_that_reconnects_never_peaks_above_its_size() {
    let bed = bed().await;
    let pool = bed.pool(2).await;
    let mut all = Vec::new();
    for _ in 0..4 {
        let pool = pool.clone();
        all.push(tokio::spawn(async move {
            for _ in 0..25 {
                let connection = pool.acquire().await.unwrap();
                connection.close().await.unwrap();
            }
        }));
    }
    for one in all {
        one.await.unwrap();
    }
    pool.close().await;
    let counts = bed.tap().counts();
    assert_eq!(
        (counts.connections_peak, counts.connections_open),
        (2, 0),
        "{counts:?}"
    );
    assert!(counts.connections_total >= 99, "{counts:?}");
    bed.finish().await;
}

#[tokio::test]
async fn copies_and_large_rows_pass_unharmed() {
    let bed = bed().await;
    let pool = bed.pool(2).await;
    let mut connection = pool.acquire().await.unwrap();
    let mut copy = connection.copy_in_raw("COPY t FROM STDIN").await.unwrap();
    let rows: String = (0..50_000)
        .map(|i| format!("{i}\t{}\n", "x".repeat(100)))
        .collect();
    copy.send(rows.as_bytes()).await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), 50_000);
    let mut out = connection.copy_out_raw("COPY t TO STDOUT").await.unwrap();
    let mut len = 0;
    while let Some(chunk) = out.try_next().await.unwrap() {
        len += chunk.len();
    }
    drop(out);
    assert_eq!(len, rows.len());
    let large: String = sqlx::query_scalar("SELECT repeat('y', 20000000)")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(large.len(), 20_000_000);
    let back: i32 = sqlx::query_scalar("SELECT length($1)")
        .bind(&large)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(back, 20_000_000);
    drop(connection);
    pool.close().await;
    let counts = bed.tap().counts();
    assert_eq!(
        (counts.in_flight, counts.statements),
        (0, 4),
        "{:?}",
        bed.tap().statements()
    );
    bed.finish().await;
}

#[tokio::test]
async fn a_cancel_request_is_no_connection() {
    let bed = bed().await;
    let mut client = pgwire::Client::connect(bed.tap().config()).await.unwrap();
    let (pid, key) = (client.pid(), client.key());
    let sleeping = tokio::spawn(async move { client.query("SELECT pg_sleep(60)").await });
    // The tap knows of the statement before the server does, and a cancel request could overtake it.
    bed.until_active(pid).await;
    let config = bed.tap().config();
    pgwire::client::cancel(&config.host, config.port, pid, key)
        .await
        .unwrap();
    let error = sleeping.await.unwrap().unwrap_err();
    assert_eq!(error.sqlstate(), Some("57014"));
    let counts = bed.tap().counts();
    assert_eq!(
        (counts.cancels, counts.connections_total, counts.attempts),
        (1, 1, 2)
    );
    assert_eq!(counts.sqlstate("57014"), 1);
    bed.finish().await;
}

#[tokio::test]
async fn pipelined_messages_are_told_apart() {
    let bed = bed().await;
    let config = bed.tap().config().clone();
    let mut stream = tokio::net::TcpStream::connect((config.host.as_str(), config.port))
        .await
        .unwrap();
    let mut out = bytes::BytesMut::new();
    write::startup(
        &mut out,
        &[("user", &config.user), ("database", &config.database)],
    );
    write::password(&mut out, &config.password);
    let trusted = bed.truth("SELECT current_setting('hba_file')").await;
    assert!(!trusted.is_empty());
    // Everything in one write: the second round trip fails in its middle, the third is answered again.
    for sql in [
        "INSERT INTO t VALUES (1, 'a')",
        "INSERT INTO t VALUES (1, 'b')",
        "SELECT id FROM t",
    ] {
        write::parse(&mut out, "", sql);
        write::bind(&mut out, "", "", &[]);
        write::execute(&mut out, "", 0);
        write::sync(&mut out);
    }
    write::terminate(&mut out);
    // A server that trusts would take the password for a message that it does not expect.
    let out = without_password_if_trusted(&bed, out).await;
    stream.write_all(&out).await.unwrap();
    let mut replies = bytes::BytesMut::new();
    while stream.read_buf(&mut replies).await.unwrap() > 0 {}
    let mut tags = Vec::new();
    while let Some(frame) = frame::next(&mut replies).unwrap() {
        tags.push(frame.tag as char);
    }
    let tags: String = tags.into_iter().collect();
    assert!(tags.ends_with("Z12CZ12EZ12DCZ"), "{tags}");
    let counts = bed.tap().counts();
    assert_eq!(
        (
            counts.executes,
            counts.round_trips,
            counts.in_flight,
            counts.client_frames
        ),
        (3, 3, 0, 12)
    );
    assert_eq!((counts.in_flight_peak, counts.connections_open), (3, 0));
    bed.finish().await;
}

async fn without_password_if_trusted(bed: &super::support::Bed, out: bytes::BytesMut) -> bytes::BytesMut {
    let asks = bed
        .truth("SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'password'")
        .await;
    if asks != "0" {
        return out;
    }
    let (_, startup) = pgwire::Opening::decode(&out).unwrap().unwrap();
    let password = frame::header(&out[startup..]).unwrap().unwrap();
    let mut all = bytes::BytesMut::from(&out[..startup]);
    all.extend_from_slice(&out[startup + password.len..]);
    all
}

#[tokio::test]
async fn abrupt_ends_on_either_side_leave_nothing_open() {
    let bed = bed().await;
    let mut client = pgwire::Client::connect(bed.tap().config()).await.unwrap();
    let pid = client.pid();
    let sleeping = tokio::spawn(async move { client.query("SELECT pg_sleep(60)").await });
    bed.tap()
        .until("a statement under way", SOON, |counts| counts.in_flight == 1)
        .await
        .unwrap();
    // The server's side ends.
    assert_eq!(
        bed.truth(&format!("SELECT pg_terminate_backend({pid})")).await,
        "t"
    );
    assert!(sleeping.await.unwrap().is_err());
    bed.tap()
        .until("the end", SOON, |c| {
            c.connections_open == 0 && c.sessions_open == 0
        })
        .await
        .unwrap();
    assert_eq!(bed.tap().counts().sqlstate("57P01"), 1);
    // The client's side ends, in the middle of a statement: known at once, though the server goes on.
    let mut client = pgwire::Client::connect(bed.tap().config()).await.unwrap();
    let pid = client.pid();
    let sleeping = tokio::spawn(async move { client.query("SELECT pg_sleep(60)").await });
    bed.tap()
        .until("a statement under way", SOON, |counts| counts.in_flight == 1)
        .await
        .unwrap();
    sleeping.abort();
    bed.tap()
        .until("the client's end", SOON, |counts| counts.connections_open == 0)
        .await
        .unwrap();
    assert_eq!(bed.tap().counts().sessions_open, 1);
    assert_eq!(
        bed.truth(&format!("SELECT pg_terminate_backend({pid})")).await,
        "t"
    );
    bed.tap()
        .until("the end", SOON, |c| c.sessions_open == 0 && c.in_flight == 0)
        .await
        .unwrap();
    bed.finish().await;
}

#[tokio::test]
async fn what_is_not_postgres_is_turned_away() {
    let bed = bed().await;
    let config = bed.tap().config();
    let mut stream = tokio::net::TcpStream::connect((config.host.as_str(), config.port))
        .await
        .unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
    assert!(rest.is_empty());
    assert_eq!(bed.tap().counts().connections_total, 0);
    bed.finish().await;
}

#[tokio::test]
async fn rules_see_the_text_of_cached_statements() {
    let bed = bed().await;
    let pool = bed.pool(1).await;
    let seen = bed
        .tap()
        .hold_requests(|r| r.kind == Kind::Execute && r.sql == Some("SELECT 40 + 2"));
    seen.open();
    for _ in 0..3 {
        sqlx::query("SELECT 40 + 2").execute(&pool).await.unwrap();
    }
    assert_eq!((seen.matched(), bed.tap().counts().parses), (3, 1));
    drop(seen);
    pool.close().await;
    bed.finish().await;
}
