//! The tap against a real etcd, through its gateway.

use std::io;
use std::time::Duration;

use harness::etcd::{Etcd, EtcdTap};
use harness::within;
use services::{Kind, Mode, Options, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// Liveness only.
const SOON: Duration = Duration::from_secs(10);

/// What base64 makes of `k` and `v`.
const PUT: &str = r#"{"key":"aw==","value":"dg=="}"#;
const GET: &str = r#"{"key":"aw=="}"#;

async fn bed() -> (Etcd, Server) {
    let options = Options {
        mode: Mode::Local,
        ..Options::default()
    };
    let server = services::start(Kind::Etcd, &options, &[]).await.unwrap();
    let (host, port) = (server.endpoint.host().to_owned(), server.endpoint.port());
    (Etcd::at(&host, port, &Handle::current()).unwrap(), server)
}

/// One request on a connection of its own; what came back, head and body.
async fn post(url: String, path: &'static str, body: &'static str) -> io::Result<String> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await?;
    Ok(said)
}

async fn is_there(tap: &EtcdTap) -> bool {
    let said = post(tap.url(), "/v3/kv/range", GET).await.unwrap();
    assert!(said.contains(" 200 "), "{said}");
    said.contains("dg==")
}

#[tokio::test]
async fn a_held_request_has_not_been_done_and_a_lost_answer_has() {
    let (etcd, server) = bed().await;
    let past = etcd.another_tap().unwrap();
    let gate = etcd.tap().hold_requests(|request| request.path == "/v3/kv/put");
    let held = tokio::spawn(post(etcd.url(), "/v3/kv/put", PUT));
    gate.until_waiting(1, SOON).await.unwrap();
    assert!(!is_there(&past).await);
    drop(gate);
    assert!(held.await.unwrap().unwrap().contains(" 200 "));
    assert!(is_there(&past).await);

    post(past.url(), "/v3/kv/deleterange", GET).await.unwrap();
    let lost = etcd.tap().lose_reply(|request| request.path == "/v3/kv/put");
    let said = post(etcd.url(), "/v3/kv/put", PUT).await;
    assert!(!said.is_ok_and(|said| said.contains(" 200 ")));
    assert_eq!(lost.matched(), 1);
    assert!(is_there(&past).await);
    assert_eq!(etcd.tap().counts().by_path["/v3/kv/put"], 2);
    server.stop().await;
}

#[tokio::test]
async fn nothing_passes_a_black_hole_until_it_ends() {
    let (etcd, server) = bed().await;
    let hole = etcd.tap().black_hole();
    let mut put = tokio::spawn(post(etcd.url(), "/v3/kv/put", PUT));
    let past = etcd.another_tap().unwrap();
    assert!(!is_there(&past).await);
    assert!(!put.is_finished());
    drop(hole);
    let said = within(SOON, "the answer", &mut put).await.unwrap();
    assert!(said.unwrap().unwrap().contains(" 200 "));
    assert!(is_there(&past).await);
    server.stop().await;
}

#[tokio::test]
async fn streams_pass_and_revoked_leases_have_no_time() {
    let (etcd, server) = bed().await;
    post(etcd.url(), "/v3/lease/grant", r#"{"ID":"7","TTL":"60"}"#)
        .await
        .unwrap();
    let kept = post(etcd.url(), "/v3/lease/keepalive", r#"{"ID":"7"}"#)
        .await
        .unwrap();
    assert!(kept.contains(r#""TTL":"60""#), "{kept}");
    assert_eq!(etcd.revoke_leases().await.unwrap(), 1);
    let kept = post(etcd.url(), "/v3/lease/keepalive", r#"{"ID":"7"}"#)
        .await
        .unwrap();
    assert!(kept.contains(" 200 ") && !kept.contains("TTL"), "{kept}");
    server.stop().await;
}
