//! Redis' own views: the slow log, what each command costs, and its counts over time.
//!
//! Costs the server one connection, and one `INFO` a second, which is among its counts.

use std::sync::Arc;
use std::time::Duration;

use harness::redis::{Client, Redis, Value};

use crate::series::{Kind, Unit};
use crate::shift::{Dial, Shift};
use crate::view::{Table, View};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Entries of the slow log that are shown.
const SLOW_SHOWN: &str = "32";

/// What is charted: its name in `INFO`, its name as a series, what it is.
const COUNTED: [(&str, &str, &str); 4] = [
    ("total_commands_processed", "redis_commands_processed", "commands"),
    ("keyspace_hits", "redis_keyspace_hits", "hits"),
    ("keyspace_misses", "redis_keyspace_misses", "misses"),
    ("expired_keys", "redis_expired_keys", "expired keys"),
];

/// Charts and views of the server that the service uses.
pub fn watch(shift: &Shift, redis: &Arc<Redis>) {
    let mut dials = Vec::new();
    let mut chart = shift.chart("Redis, per second", Unit::Count);
    for (key, name, about) in COUNTED {
        let (next, dial) = chart.dial(Kind::Counter, name, &[], &format!("By INFO: {about}"));
        chart = next;
        dials.push((key, dial));
    }
    chart.show();
    let (chart, clients) = shift.chart("Redis, connections", Unit::Count).dial(
        Kind::Gauge,
        "redis_connected_clients",
        &[],
        "Connections to the server, the watcher's included",
    );
    chart.show();
    dials.push(("connected_clients", clients));
    shift.oncall().spawn(keep_looking(redis.clone(), dials));
    let looked = redis.clone();
    shift.view(View::new(
        "redis",
        "Redis: its slow log, what each command costs, its keys",
        move |_| views(looked.clone()),
    ));
}

async fn keep_looking(redis: Arc<Redis>, dials: Vec<(&'static str, Dial)>) {
    loop {
        if let Ok(mut client) = redis.admin().await {
            while let Ok(info) = client.command(&["INFO"]).await {
                for (key, value) in pairs(&text(&info)) {
                    let dial = dials.iter().find(|(known, _)| *known == key);
                    if let (Some((_, dial)), Ok(value)) = (dial, value.parse()) {
                        dial.set(value);
                    }
                }
                tokio::time::sleep(EVERY).await;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn views(redis: Arc<Redis>) -> Result<Vec<Table>, String> {
    let mut client = redis.admin().await.map_err(|failure| failure.to_string())?;
    Ok(vec![
        slow_log(&mut client).await?,
        commands(&mut client).await?,
        keys(&mut client).await?,
    ])
}

async fn slow_log(client: &mut Client) -> Result<Table, String> {
    let log = asked(client, &["SLOWLOG", "GET", SLOW_SHOWN]).await?;
    let rows = log.parts().iter().map(|entry| {
        let parts = entry.parts();
        let number = |place: usize| parts.get(place).and_then(Value::int).unwrap_or_default();
        let command: Vec<String> = parts
            .get(3)
            .map(|command| command.parts().iter().map(text).collect())
            .unwrap_or_default();
        vec![number(1).to_string(), number(2).to_string(), command.join(" ")]
    });
    Ok(Table {
        title: "SLOWLOG GET".to_owned(),
        head: ["at, seconds since 1970", "microseconds", "command"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
        ..Table::default()
    })
}

async fn commands(client: &mut Client) -> Result<Table, String> {
    let info = text(&asked(client, &["INFO", "commandstats"]).await?);
    let rows = pairs(&info).filter_map(|(key, value)| {
        let name = key.strip_prefix("cmdstat_")?;
        let figures: Vec<(&str, &str)> = value.split(',').filter_map(|part| part.split_once('=')).collect();
        let figure = |key: &str| {
            let found = figures.iter().find(|(known, _)| *known == key);
            found.map_or("", |(_, value)| value).to_owned()
        };
        Some(vec![
            name.to_owned(),
            figure("calls"),
            figure("usec_per_call"),
            figure("failed_calls"),
        ])
    });
    let mut rows: Vec<Vec<String>> = rows.collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row[1].parse::<u64>().unwrap_or_default()));
    Ok(Table {
        title: "INFO commandstats".to_owned(),
        head: ["command", "calls", "microseconds per call", "failed"]
            .map(str::to_owned)
            .to_vec(),
        rows,
        ..Table::default()
    })
}

/// Some of the keys, with their time to live.
async fn keys(client: &mut Client) -> Result<Table, String> {
    let found = asked(client, &["SCAN", "0", "COUNT", "50"]).await?;
    let mut rows = Vec::new();
    for key in found
        .parts()
        .get(1)
        .map(Value::parts)
        .unwrap_or_default()
        .iter()
        .take(50)
    {
        let key = text(key);
        let left_ms = asked(client, &["PTTL", &key]).await?.int().unwrap_or_default();
        rows.push(vec![key, left_ms.to_string()]);
    }
    rows.sort();
    Ok(Table {
        title: "SCAN: some of the keys".to_owned(),
        head: ["key", "PTTL, ms (-1: for ever)"].map(str::to_owned).to_vec(),
        rows,
        ..Table::default()
    })
}

async fn asked(client: &mut Client, words: &[&str]) -> Result<Value, String> {
    client
        .command(words)
        .await
        .map_err(|error| format!("failed to ask Redis: {error}"))
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.text().unwrap_or_default()).into_owned()
}

fn pairs(info: &str) -> impl Iterator<Item = (&str, &str)> {
    info.lines().filter_map(|line| line.trim().split_once(':'))
}
