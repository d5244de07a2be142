//! An evening of `people`, watched: `cargo xtask incident`.

use oncall::Shift;
use slow_query_hidden::stage::{Stage, connect};
use slow_query_hidden::subject::{self, Directory};
use slow_query_hidden::traffic::{Arrival, Day, drive};

/// Connections of each replica.
const CONNECTIONS: u32 = 5;
const REPLICAS: usize = 2;

#[global_allocator]
static HEAP: oncall::Recording = oncall::Recording;

fn main() -> std::process::ExitCode {
    oncall::run(oncall::incident!(), traffic)
}

async fn traffic(shift: Shift) -> Result<(), String> {
    let mut stage = Stage::grown(shift.check())
        .await
        .map_err(|failure| failure.to_string())?;
    let users = stage
        .ask_one::<i64>("SELECT count(*) FROM users")
        .await
        .map_err(|failure| failure.to_string())?;
    let pool = connect(&stage.pg.url(), 1)
        .await
        .map_err(|error| error.to_string())?;
    subject::migrate(&pool).await.map_err(|error| error.to_string())?;
    pool.close().await;
    stage.vacuum().await.map_err(|failure| failure.to_string())?;
    oncall::postgres::watch(&shift, &stage.pg, value_of);
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        let pool = connect(&stage.pg.url(), CONNECTIONS)
            .await
            .map_err(|error| error.to_string())?;
        replicas.push(Directory::new(pool));
    }
    let calls = shift.calls();
    let driven = drive(&replicas, evening(shift.seed(), users), |served| {
        calls.answered(served.endpoint, served.latency, served.answered);
    });
    // There is always another evening.
    tokio::time::timeout(shift.lasts(), driven).await.ok();
    Ok(())
}

/// The day's half minute, and then its busiest seconds over and over.
fn evening(seed: u64, users: i64) -> impl Iterator<Item = Arrival> {
    let day = Day::short(seed, users);
    let busy = Day {
        quiet_per_s: day.busy_per_s,
        ..day
    };
    let later = (1..).flat_map(move |n: u32| {
        let day = Day {
            seed: seed.wrapping_add(n.into()),
            ..busy
        };
        day.arrivals().map(move |arrival| Arrival {
            due: arrival.due + day.length * n,
            ..arrival
        })
    });
    day.arrivals().chain(later)
}

/// What a statement is explained with.
fn value_of(kind: &str) -> Option<&'static str> {
    match kind {
        "text" | "character varying" => Some("eu"),
        "bigint" | "integer" => Some("50"),
        "boolean" => Some("true"),
        "timestamp with time zone" => Some("now"),
        _ => None,
    }
}
