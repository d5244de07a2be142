//! The load of a DynamoDB table by partition, as its operators see it.
//!
//! Costs a look each window, in this process; the server is asked nothing. What partitions may do is what the taps allow
//! them. Cannot see: what a request weighed before its answer, nor keys that nobody has used lately.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use harness::dynamodb::{DynamoDb, DynamoTap, Limit, PARTITIONS, Window};

use crate::series::{Kind, Unit};
use crate::shift::{Dial, Shift};
use crate::view::{Table, View};

/// Keys that are shown.
const KEYS_SHOWN: usize = 20;

/// Charts and the view of a table whose partitions may do so much in each window. `taps` are those of the instances.
pub fn watch(shift: &Shift, db: &Arc<DynamoDb>, taps: &[Arc<DynamoTap>], limit: Limit, window: Duration) {
    db.limit(Some(limit));
    let mut chart = shift.chart("Write units of the last window, by partition", Unit::Count);
    let mut writes = Vec::new();
    for partition in 0..PARTITIONS {
        let (next, dial) = chart.dial(
            Kind::Gauge,
            "dynamodb_consumed_write_units",
            &[("partition", &partition.to_string())],
            "Write units that a partition was charged in the last window",
        );
        chart = next;
        writes.push(dial);
    }
    chart.show();
    let (chart, throttled) = shift.chart("Requests throttled per second", Unit::Count).dial(
        Kind::Counter,
        "dynamodb_throttled_requests",
        &[],
        "Requests that were refused because their partition had nothing left",
    );
    chart.show();
    let (chart, used) = shift
        .chart("Capacity of the table that is used", Unit::Share)
        .dial(
            Kind::Gauge,
            "dynamodb_consumed_write_ratio",
            &[],
            "Write units of all partitions in the last window, of those that they have",
        );
    chart.show();
    let counted = taps.to_vec();
    shift
        .chart("Requests to the table per second", Unit::Count)
        .counter(
            "dynamodb_requests",
            &[],
            "Requests for items, those that were refused included",
            move || counted.iter().map(|tap| tap.counts().requests as f64).sum(),
        )
        .show();
    let last = Arc::new(Mutex::new(Window::default()));
    shift.oncall().spawn(keep_ticking(
        db.clone(),
        window,
        last.clone(),
        Dials {
            writes,
            throttled,
            used,
            limit,
        },
    ));
    let taps = taps.to_vec();
    shift.view(View::new(
        "partitions",
        "the table's partitions: what each took and refused in the last window, and the busiest keys",
        move |_| {
            let last = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let tables = vec![partitions(&last, limit), keys(&taps)];
            async move { Ok(tables) }
        },
    ));
}

struct Dials {
    writes: Vec<Dial>,
    throttled: Dial,
    used: Dial,
    limit: Limit,
}

/// A window lasts so long: between two, the table moves keys.
async fn keep_ticking(db: Arc<DynamoDb>, window: Duration, last: Arc<Mutex<Window>>, dials: Dials) {
    let mut clock = tokio::time::interval(window);
    let capacity = dials.limit.write_units * PARTITIONS as f64;
    loop {
        clock.tick().await;
        let ended = db.tick();
        for (dial, units) in dials.writes.iter().zip(ended.write_units) {
            dial.set(units);
        }
        let refused: u64 = ended.throttled.iter().sum();
        dials.throttled.set(dials.throttled.get() + refused as f64);
        dials.used.set(ended.write_units.iter().sum::<f64>() / capacity);
        *last.lock().unwrap_or_else(PoisonError::into_inner) = ended;
    }
}

fn partitions(window: &Window, limit: Limit) -> Table {
    let rows = (0..PARTITIONS).map(|at| {
        vec![
            at.to_string(),
            format!("{} of {}", window.write_units[at], limit.write_units),
            format!("{} of {}", window.read_units[at], limit.read_units),
            window.throttled[at].to_string(),
        ]
    });
    Table {
        title: "Partitions, in the last window".to_owned(),
        head: ["partition", "write units", "read units", "requests refused"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
        ..Table::default()
    }
}

fn keys(taps: &[Arc<DynamoTap>]) -> Table {
    let mut keys: HashMap<String, (u64, u64)> = HashMap::new();
    let requests = taps.iter().flat_map(|tap| tap.requests_after(0));
    for access in requests.flat_map(|request| request.accesses) {
        let counts = keys.entry(access.partition_key).or_default();
        match access.writes {
            true => counts.0 += 1,
            false => counts.1 += 1,
        }
    }
    let mut keys: Vec<(String, (u64, u64))> = keys.into_iter().collect();
    keys.sort_by(|(a, one), (b, other)| (other.0 + other.1, a).cmp(&(one.0 + one.1, b)));
    let rows = keys.into_iter().take(KEYS_SHOWN);
    Table {
        title: "Keys by requests, among the last few thousand".to_owned(),
        head: ["table and partition key", "writes", "reads"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows
            .map(|(key, (writes, reads))| vec![key, writes.to_string(), reads.to_string()])
            .collect(),
        ..Table::default()
    }
}
