//! PgBouncer's own views, by its console: pools, clients, connections to the server, what passed.
//!
//! Costs the pooler one connection of its console, and one question a second. Cannot see: what it does for less than a second.

use std::time::Duration;

use pgwire::{Client, Config, Row};

use crate::series::{Kind, Unit};
use crate::shift::{Dial, Shift};
use crate::view::{Table, View};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Columns of `SHOW POOLS` that are charted.
const COUNTED: [(&str, &str); 4] = [
    (
        "cl_active",
        "clients that have a connection to the server, or want none",
    ),
    ("cl_waiting", "clients that wait for a connection to the server"),
    ("sv_active", "connections to the server that a client has"),
    ("sv_idle", "connections to the server that nobody has"),
];
const SHOWN: [&str; 5] = ["POOLS", "STATS", "CLIENTS", "SERVERS", "CONFIG"];

/// Charts and the view of a pooler. `console` is its own database, as one who may ask there.
pub fn watch(shift: &Shift, console: &Config) {
    let mut chart = shift.chart("PgBouncer: clients, and connections to the server", Unit::Count);
    let mut dials = Vec::new();
    for (column, about) in COUNTED {
        let about = format!("By SHOW POOLS: {about}");
        let (next, dial) = chart.dial(Kind::Gauge, "pgbouncer_pools", &[("state", column)], &about);
        chart = next;
        dials.push((column, dial));
    }
    chart.show();
    shift.oncall().spawn(keep_looking(console.clone(), dials));
    let console = console.clone();
    shift.view(View::new(
        "pgbouncer",
        "PgBouncer's console: pools, what passed, clients, connections to the server, settings",
        move |_| look(console.clone()),
    ));
}

async fn keep_looking(console: Config, dials: Vec<(&'static str, Dial)>) {
    loop {
        if let Ok(mut client) = Client::connect(&console).await {
            while let Ok(pools) = client.query("SHOW POOLS").await {
                let pools: Vec<&Row> = pools
                    .iter()
                    .filter(|row| row.get("database") != Some("pgbouncer"))
                    .collect();
                for (column, dial) in &dials {
                    let counts = pools
                        .iter()
                        .filter_map(|row| row.get(column)?.parse::<f64>().ok());
                    dial.set(counts.fold(0.0, |sum, count| sum + count));
                }
                tokio::time::sleep(EVERY).await;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn look(console: Config) -> Result<Vec<Table>, String> {
    let failed = |error: pgwire::Error| format!("failed to ask PgBouncer: {error}");
    let mut client = Client::connect(&console).await.map_err(failed)?;
    let mut tables = Vec::new();
    for what in SHOWN {
        let rows = client.query(&format!("SHOW {what}")).await.map_err(failed)?;
        let head = rows.first().map(|row| row.columns().to_vec()).unwrap_or_default();
        let cells = |row: &Row| {
            (0..head.len())
                .map(|at| row.text(at).unwrap_or_default().to_owned())
                .collect()
        };
        tables.push(Table {
            title: format!("SHOW {what}"),
            rows: rows.iter().map(cells).collect(),
            head,
            ..Table::default()
        });
    }
    Ok(tables)
}
