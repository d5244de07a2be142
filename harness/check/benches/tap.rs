//! The tap against a direct connection.
//!
//! `cargo bench -p harness --bench tap`. The aim is at most a tenth of the throughput. On a machine that is busy with
//! others only the last lines can be trusted: they compare in interleaved pairs.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use harness::postgres::PgTap;
use harness::ratio;
use pgwire::Config;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::runtime::Runtime;

const CLIENTS: u32 = 8;
const QUERIES_PER_CLIENT: u32 = 50;
const ROWS: i64 = 20_000;

async fn pool(config: &Config) -> PgPool {
    let Config {
        host,
        port,
        user,
        password,
        database,
    } = config;
    let url = format!("postgres://{user}:{password}@{host}:{port}/{database}?sslmode=disable");
    PgPoolOptions::new()
        .max_connections(CLIENTS)
        .min_connections(CLIENTS)
        .test_before_acquire(false)
        .connect(&url)
        .await
        .expect("a connection")
}

/// Point queries one after the other.
async fn one_client(pool: &PgPool) {
    let mut connection = pool.acquire().await.expect("a connection");
    for i in 0..i64::from(QUERIES_PER_CLIENT) {
        let query = sqlx::query_scalar::<_, i64>("SELECT $1 + 1").bind(i);
        query.fetch_one(&mut *connection).await.expect("a sum");
    }
}

/// Point queries from several clients at once: dominated by round trips.
async fn point_queries(pool: &PgPool) {
    let clients = (0..CLIENTS).map(|client| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let mut connection = pool.acquire().await.expect("a connection");
            for i in 0..QUERIES_PER_CLIENT {
                let query = sqlx::query_scalar::<_, i64>("SELECT $1 + 1").bind(i64::from(client * i));
                query.fetch_one(&mut *connection).await.expect("a sum");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client that ends");
    }
}

/// One large result: dominated by bytes.
async fn large_result(pool: &PgPool) {
    let rows = sqlx::query("SELECT i, repeat('x', 200) FROM generate_series(1, $1) i").bind(ROWS);
    rows.fetch_all(pool).await.expect("rows");
}

fn compare(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let server = services::testing::postgres_admin();
    let tap = PgTap::start(&harness::harness_runtime(), &server).expect("a tap");
    let direct = runtime.block_on(pool(&server));
    let tapped = runtime.block_on(pool(tap.config()));

    let mut group = criterion.benchmark_group("point queries");
    group.throughput(Throughput::Elements(u64::from(CLIENTS * QUERIES_PER_CLIENT)));
    group.bench_function("direct", |b| b.to_async(&runtime).iter(|| point_queries(&direct)));
    group.bench_function("tapped", |b| b.to_async(&runtime).iter(|| point_queries(&tapped)));
    group.finish();

    let mut group = criterion.benchmark_group("large result");
    group.throughput(Throughput::Elements(ROWS.unsigned_abs()));
    group.sample_size(20);
    group.bench_function("direct", |b| b.to_async(&runtime).iter(|| large_result(&direct)));
    group.bench_function("tapped", |b| b.to_async(&runtime).iter(|| large_result(&tapped)));
    group.finish();
}

/// Pairs of tapped and direct, one right after the other: how long they take, and the CPU time of this process, which
/// is the driver's and the tap's, but not the server's.
async fn interleaved(name: &str, tapped: impl AsyncFn(), direct: impl AsyncFn()) {
    for clock in [ratio::Clock::Wall, ratio::Clock::ProcessCpu] {
        // No ratio compares with this limit: the cap is reached, and what is printed is the spread over all pairs.
        let found = ratio::measure_async(clock, f64::NAN, &tapped, &direct).await;
        let ratio::Finding::Inconclusive(spread) = found else {
            continue;
        };
        let ratio::Spread {
            median, low, high, ..
        } = spread;
        println!("{name}, {clock:?}, tapped to direct: {median:.2} ({low:.2} to {high:.2})");
    }
}

fn compare_interleaved(_: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let server = services::testing::postgres_admin();
    let tap = PgTap::start(&harness::harness_runtime(), &server).expect("a tap");
    runtime.block_on(async {
        let (direct, tapped) = (pool(&server).await, pool(tap.config()).await);
        interleaved(
            "one client",
            async || one_client(&tapped).await,
            async || one_client(&direct).await,
        )
        .await;
        interleaved(
            "point queries",
            async || point_queries(&tapped).await,
            async || point_queries(&direct).await,
        )
        .await;
        interleaved(
            "large result",
            async || large_result(&tapped).await,
            async || large_result(&direct).await,
        )
        .await;
    });
}

criterion_group!(benches, compare, compare_interleaved);
criterion_main!(benches);
