//! A server from the cached template to its first answer: as a process of this machine and, where
//! `WAR_STORIES_TEST_CONTAINERS=1` says that they can be had, in a container.
//!
//! `cargo bench -p services`. The aim for local PostgreSQL is 300 ms. What is measured is what a run waits for: from
//! the call to the first answer, with the server's end left out.

use criterion::{Criterion, criterion_group, criterion_main};
use services::{Kind, Mode, Options, PostgresSeed, start};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

fn options(mode: Mode) -> Options {
    Options {
        mode,
        ..Options::with_cache(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
    }
}

fn people() -> PostgresSeed {
    let sql = "CREATE TABLE person (id bigint PRIMARY KEY, name text NOT NULL);
               INSERT INTO person SELECT n, 'person ' || n FROM generate_series(1, 1000) AS n;";
    PostgresSeed {
        name: "people".to_owned(),
        sql: sql.to_owned(),
    }
}

async fn starts(kind: Kind, mode: Mode, times: u64) -> Duration {
    let seeds = if kind == Kind::Postgres {
        vec![people()]
    } else {
        Vec::new()
    };
    let mut waited = Duration::ZERO;
    for _ in 0..times {
        let begun = Instant::now();
        let server = start(kind, &options(mode), &seeds).await.expect("a server");
        waited += begun.elapsed();
        server.stop().await;
    }
    waited
}

fn bench(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let containers = std::env::var("WAR_STORIES_TEST_CONTAINERS").is_ok_and(|word| word == "1");
    let mut group = criterion.benchmark_group("to the first answer");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(4))
        .warm_up_time(Duration::from_millis(500));
    for kind in [Kind::Postgres, Kind::Redis, Kind::Etcd] {
        let modes = [
            (Mode::Local, "local", true),
            (Mode::Containers, "container", containers),
        ];
        for (mode, word, _) in modes.into_iter().filter(|(.., wanted)| *wanted) {
            group.bench_function(format!("{kind}, {word}"), |b| {
                b.to_async(&runtime)
                    .iter_custom(|times| starts(kind, mode, times));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
