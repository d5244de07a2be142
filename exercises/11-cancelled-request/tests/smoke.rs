//! What was tested when it broke.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use cancelled_request::{AppCfg, AppState, Probe, app};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

struct Desk {
    app: Router,
    st: AppState,
    db: PgPool,
    _db: services::testing::Database,
}

/// A price service that knows one price.
async fn prices() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") && stream.read_buf(&mut asked).await.unwrap_or(0) > 0 {}
                let answer =
                    "HTTP/1.1 200 OK\r\ncontent-length: 18\r\nconnection: close\r\n\r\n{\"unit_cents\":250}";
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    format!("http://{address}")
}

async fn desk() -> Desk {
    let database = services::testing::postgres();
    let db = PgPool::connect(&database.url()).await.unwrap();
    cancelled_request::migrate(&db).await.unwrap();
    let cfg = AppCfg {
        pool: 4,
        acquire_timeout: Duration::from_secs(5),
        prices_url: prices().await,
        grace: Duration::from_secs(5),
    };
    let st = AppState::new(&database.url(), cfg, Arc::new(Probe::new())).await;
    Desk {
        app: app(st.clone()),
        st,
        db,
        _db: database,
    }
}

impl Desk {
    async fn send(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = TowerToHyperService::new(self.app.clone())
            .call(request)
            .await
            .unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn report(&self, query: &str, adjustments: &str) -> (StatusCode, String) {
        let request = Request::post(format!("/reports?{query}"));
        self.send(request.body(Body::from(adjustments.to_owned())).unwrap())
            .await
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn events(&self, report: &str) -> Vec<String> {
        sqlx::query_scalar("SELECT event FROM audit WHERE report = $1 ORDER BY id")
            .bind(report)
            .fetch_all(&self.db)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_report_is_made_stored_and_audited() {
    let desk = desk().await;
    let (status, body) = desk
        .report(
            "id=r-1&market=eu&lines=3&secs=0.01",
            r#"[{"line":2,"cents":-5},{"line":2,"cents":1}]"#,
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    // Units are 8, 15 and 22.
    let report: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(report["lines"], 3);
    assert_eq!(report["total_cents"], 45 * 250 - 4);
    let rows: Vec<i64> = sqlx::query_scalar("SELECT cents FROM results WHERE report = 'r-1' ORDER BY line")
        .fetch_all(&desk.db)
        .await
        .unwrap();
    assert_eq!(rows, [8 * 250, 15 * 250 - 4, 22 * 250]);
    assert_eq!(desk.events("r-1").await, ["started", "done"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let desk = desk().await;
    for (query, adjustments) in [
        ("id=r-1&market=eu&lines=0&secs=0", "[]"),
        ("id=r*1&market=eu&lines=1&secs=0", "[]"),
        ("id=r-1&market=eu&lines=1&secs=-1", "[]"),
        ("id=r-1&market=eu&lines=1&secs=0", "nonsense"),
    ] {
        let (status, body) = desk.report(query, adjustments).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {body}");
    }
    assert!(!desk.events("r-1").await.contains(&"done".to_owned()));
}

#[tokio::test]
async fn whoever_is_in_a_hurry_is_told_that_it_is_late() {
    let desk = desk().await;
    let request = Request::post("/reports?id=r-1&market=eu&lines=40&secs=2").header("x-deadline-ms", "100");
    let (status, _) = desk.send(request.body(Body::from("[]")).unwrap()).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    let request = Request::post("/reports?id=r-2&market=eu&lines=1&secs=0").header("x-deadline-ms", "soon");
    let (status, _) = desk.send(request.body(Body::from("[]")).unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_start_page_counts_reports() {
    let desk = desk().await;
    assert_eq!(desk.get("/quick").await, (StatusCode::OK, "0\n".to_owned()));
    desk.report("id=r-1&market=eu&lines=1&secs=0", "[]").await;
    assert_eq!(desk.get("/quick").await, (StatusCode::OK, "1\n".to_owned()));
}

#[tokio::test]
async fn metrics_count_steps() {
    let desk = desk().await;
    desk.report("id=r-1&market=eu&lines=4&secs=0", "[]").await;
    let (_, metrics) = desk.get("/metrics").await;
    assert!(metrics.contains("crunch_steps_total 4\n"), "{metrics}");
}

#[tokio::test]
async fn an_idle_instance_shuts_down_at_once() {
    let desk = desk().await;
    desk.report("id=r-1&market=eu&lines=1&secs=0", "[]").await;
    let Desk { app, st, .. } = desk;
    drop(app);
    tokio::time::timeout(Duration::from_secs(5), st.shutdown(Duration::from_secs(60)))
        .await
        .expect("nothing to wait for");
}
