use slow_query_hidden::subject::{self, Directory};
use slow_query_hidden::traffic::{self, Day};
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).unwrap();
    let secs: u64 = std::env::args().nth(2).map_or(30, |s| s.parse().unwrap());
    let busy: f64 = std::env::args().nth(3).map_or(120.0, |s| s.parse().unwrap());
    let pool = PgPoolOptions::new()
        .max_connections(10)
        .acquire_timeout(Duration::from_secs(120))
        .connect(&url)
        .await
        .unwrap();
    subject::migrate(&pool).await.unwrap();
    let other = PgPoolOptions::new()
        .max_connections(10)
        .acquire_timeout(Duration::from_secs(120))
        .connect(&url)
        .await
        .unwrap();
    let replicas = [Directory::new(pool), Directory::new(other)];
    let day = Day {
        length: Duration::from_secs(secs),
        busy_per_s: busy,
        ..Day::short(7, 500_000)
    };
    let mut served = Vec::new();
    traffic::drive(&replicas, day.arrivals(), |s| served.push(s)).await;
    for w in 0..(secs / 5) {
        let mut l: Vec<_> = served
            .iter()
            .filter(|s| s.due.as_secs() / 5 == w)
            .map(|s| s.latency.as_millis())
            .collect();
        l.sort();
        let bad = served
            .iter()
            .filter(|s| s.due.as_secs() / 5 == w && !s.answered)
            .count();
        println!(
            "{}-{} s: {} requests, p50 {} ms, p99 {} ms, failed {bad}",
            w * 5,
            w * 5 + 5,
            l.len(),
            l[l.len() / 2],
            l[l.len() * 99 / 100]
        );
    }
}
