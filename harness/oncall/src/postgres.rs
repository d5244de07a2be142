//! PostgreSQL's own views: who is connected and waits for what, which statements cost most, and the plan of any of them
//! as the driver prepares it.
//!
//! Costs the server one session, and two small queries a second. Cannot see: statements that failed or are still running
//! (those are among the sessions), nor what a statement's first executions did before somebody looked.

mod bound;
mod template;

use std::sync::Arc;
use std::time::Duration;

use harness::postgres::Postgres;
use pgwire::{Client, Row};

use crate::series::{Kind, Unit};
use crate::shift::{Dial, Shift};
use crate::view::{Table, View};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Executions after which a prepared statement's plan is what it stays.
const EXECUTIONS: u32 = 7;
const STATES: [&str; 4] = ["active", "idle", "idle in transaction", "waiting for a lock"];

/// The value to explain a statement with, by the parameter's type; NULL without one.
pub type ValueOf = fn(kind: &str) -> Option<&'static str>;

/// Charts and views of the database that the service uses.
pub fn watch(shift: &Shift, pg: &Arc<Postgres>, value_of: ValueOf) {
    let mut chart = shift.chart("Sessions in PostgreSQL, by state", Unit::Count);
    let mut states = Vec::new();
    for state in STATES {
        let about = "Sessions of the service, from pg_stat_activity";
        let (next, dial) = chart.dial(Kind::Gauge, "pg_stat_activity_count", &[("state", state)], about);
        chart = next;
        states.push((state, dial));
    }
    chart.show();
    let (chart, calls) = shift.chart("Statements per second", Unit::Count).dial(
        Kind::Counter,
        "pg_stat_statements_calls",
        &[],
        "Statements that the service has run to their end",
    );
    chart.show();
    let (chart, blocks) = shift
        .chart("Blocks that statements looked at, per second", Unit::Count)
        .dial(
            Kind::Counter,
            "pg_stat_statements_blocks",
            &[],
            "Blocks of 8 kB found in shared memory or read, by the service's statements",
        );
    chart.show();
    let dials = Dials {
        states,
        calls,
        blocks,
    };
    shift.oncall().spawn(keep_looking(pg.clone(), dials));
    let looked = pg.clone();
    shift.view(View::new(
        "activity",
        "sessions in PostgreSQL: what each does, and what it waits for",
        move |_| activity(looked.clone()),
    ));
    let looked = pg.clone();
    shift.view(View::new(
        "statements",
        "statements by the blocks that they looked at; the plan of any of them, as the driver prepares it",
        move |id| statements(looked.clone(), id, value_of),
    ));
}

struct Dials {
    states: Vec<(&'static str, Dial)>,
    calls: Dial,
    blocks: Dial,
}

async fn keep_looking(pg: Arc<Postgres>, dials: Dials) {
    loop {
        if let Ok(mut client) = pg.admin().await {
            client
                .execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
                .await
                .ok();
            while look(&pg, &mut client, &dials).await.is_ok() {
                tokio::time::sleep(EVERY).await;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn look(pg: &Postgres, client: &mut Client, dials: &Dials) -> Result<(), pgwire::Error> {
    let sql = format!(
        "SELECT CASE WHEN wait_event_type = 'Lock' THEN 'waiting for a lock' ELSE state END, count(*)
           FROM pg_stat_activity WHERE usename = '{}' GROUP BY 1",
        pg.role()
    );
    let rows = client.query(&sql).await?;
    for (state, dial) in &dials.states {
        let row = rows.iter().find(|row| row.text(0) == Some(state));
        dial.set(row.map_or(0.0, |row| number(row, 1)));
    }
    let sql = format!(
        "SELECT coalesce(sum(calls), 0), coalesce(sum(shared_blks_hit + shared_blks_read), 0)
           FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname = '{}' AND toplevel",
        pg.role()
    );
    if let Some(row) = client.query(&sql).await?.first() {
        dials.calls.set(number(row, 0));
        dials.blocks.set(number(row, 1));
    }
    Ok(())
}

fn number(row: &Row, column: usize) -> f64 {
    row.text(column)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

async fn activity(pg: Arc<Postgres>) -> Result<Vec<Table>, String> {
    let sql = format!(
        "SELECT pid, state, coalesce(wait_event_type || ': ' || wait_event, ''),
                coalesce(round(extract(epoch FROM now() - state_change)::numeric, 1)::text, ''),
                coalesce(array_to_string(pg_blocking_pids(pid), ', '), ''),
                left(regexp_replace(query, '\\s+', ' ', 'g'), 160)
           FROM pg_stat_activity WHERE usename = '{}' ORDER BY state_change",
        pg.role()
    );
    let head = [
        "pid",
        "state",
        "waits for",
        "seconds in this state",
        "blocked by",
        "last statement",
    ];
    let table = table(&pg, "pg_stat_activity, of the service", &head, &sql).await?;
    Ok(vec![table])
}

async fn statements(pg: Arc<Postgres>, id: Option<String>, value_of: ValueOf) -> Result<Vec<Table>, String> {
    let mut client = pg.admin().await.map_err(|failure| failure.to_string())?;
    let sql = format!(
        "SELECT queryid, calls, rows, round((shared_blks_hit + shared_blks_read)::numeric / greatest(calls, 1), 1),
                round(mean_exec_time::numeric, 2), left(regexp_replace(query, '\\s+', ' ', 'g'), 200)
           FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
          WHERE r.rolname = '{}' AND toplevel ORDER BY shared_blks_hit + shared_blks_read DESC LIMIT 25",
        pg.role()
    );
    let rows = client.query(&sql).await.map_err(|error| error.to_string())?;
    let head = [
        "id",
        "calls",
        "rows",
        "blocks per call",
        "ms per call",
        "statement",
    ];
    let mut tables = Vec::new();
    if let Some(id) = id.and_then(|id| id.parse::<i64>().ok()) {
        tables.push(explained(&pg, &mut client, id, value_of).await?);
    }
    tables.push(Table {
        title: "pg_stat_statements, of the service; an id opens its plan".to_owned(),
        head: head.iter().map(|name| (*name).to_owned()).collect(),
        rows: rows.iter().map(|row| cells(row, head.len())).collect(),
        link: Some(0),
        ..Table::default()
    });
    Ok(tables)
}

/// The plan of a statement as the driver prepares it: its own text, with parameters of the types that the driver declared and
/// the values that it bound last, executed as often as it takes until the server keeps one plan for all values. What it
/// changes is rolled back.
async fn explained(pg: &Postgres, client: &mut Client, id: i64, value_of: ValueOf) -> Result<Table, String> {
    let text = |error: pgwire::Error| error.to_string();
    let rows = client
        .query(&format!(
            "SELECT query FROM pg_stat_statements WHERE queryid = {id} LIMIT 1"
        ))
        .await
        .map_err(text)?;
    let told = rows
        .first()
        .and_then(|row| row.text(0))
        .ok_or("that statement is not among them any more")?
        .to_owned();
    let prepared = pg.prepared(|sql| template::stands_for(&told, sql));
    let (sql, bound) = match &prepared {
        Some((sql, types, bound)) => (sql.to_string(), bound::texts(types, bound)),
        None => (told, Vec::new()),
    };
    client
        .execute(&format!("PREPARE looked_at AS {sql}"))
        .await
        .map_err(text)?;
    let types = client
        .query("SELECT unnest(parameter_types)::text FROM pg_prepared_statements WHERE name = 'looked_at'")
        .await
        .map_err(text)?;
    client.execute("DEALLOCATE looked_at").await.map_err(text)?;
    let types: Vec<String> = types
        .iter()
        .filter_map(|row| row.text(0).map(str::to_owned))
        .collect();
    let values: Vec<Option<String>> = types
        .iter()
        .enumerate()
        .map(|(place, kind)| match bound.get(place) {
            Some(bound::Value::Text(text)) => Some(text.clone()),
            Some(bound::Value::Null) => None,
            Some(bound::Value::Unreadable) | None => value_of(kind).map(str::to_owned),
        })
        .collect();
    let parameters: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
    let plan = pg
        .plan_as_prepared(&sql, &parameters, EXECUTIONS)
        .await
        .map_err(|failure| failure.to_string())?;
    let shown: Vec<String> = parameters
        .iter()
        .enumerate()
        .map(|(place, value)| format!("${} = {}", place + 1, value.unwrap_or("NULL")))
        .collect();
    let whose = match prepared {
        Some(_) => "as the driver has prepared it, with the values of the last time",
        None => "as no driver was seen to prepare it",
    };
    Ok(Table {
        title: format!("The plan of the statement, {whose}"),
        text: format!("{sql}\n\n{}\n\n{plan}", shown.join("\n")),
        ..Table::default()
    })
}

/// What a query of the admin's gives, under `head`.
///
/// # Errors
/// In words, where the server does not answer it.
pub async fn table(pg: &Postgres, title: &str, head: &[&str], sql: &str) -> Result<Table, String> {
    let mut client = pg.admin().await.map_err(|failure| failure.to_string())?;
    let rows = client.query(sql).await.map_err(|error| error.to_string())?;
    Ok(Table {
        title: title.to_owned(),
        head: head.iter().map(|name| (*name).to_owned()).collect(),
        rows: rows.iter().map(|row| cells(row, head.len())).collect(),
        ..Table::default()
    })
}

fn cells(row: &Row, columns: usize) -> Vec<String> {
    (0..columns)
        .map(|column| row.text(column).unwrap_or_default().to_owned())
        .collect()
}
