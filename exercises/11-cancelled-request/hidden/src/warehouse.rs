//! The database, past the taps: what it is busy with for the service, and what the records say.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use harness::postgres::{Lookout, Postgres};
use harness::{Failure, within};

/// Between two looks at a state that tells nobody when it changes.
const AGAIN: Duration = Duration::from_millis(10);

/// What the records say of one report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// In the order in which they were written.
    pub events: Vec<String>,
    pub rows: i64,
    pub total_cents: i64,
}

impl Record {
    pub fn starts(&self) -> usize {
        self.events.iter().filter(|event| *event == "started").count()
    }

    /// How the report ended, by the audit: once, if all is well.
    pub fn ends(&self) -> Vec<&str> {
        let ends = self.events.iter().filter(|event| *event != "started");
        ends.map(String::as_str).collect()
    }
}

pub struct Warehouse {
    lookout: Lookout,
    role: String,
}

impl Warehouse {
    pub fn visit(pg: &Arc<Postgres>) -> Warehouse {
        Warehouse {
            lookout: Lookout::on(pg),
            role: pg.role().to_owned(),
        }
    }

    /// The service's sessions that are not idle, in a line each.
    pub async fn busy(&self) -> Result<Vec<String>, Failure> {
        self.busy_where("true").await
    }

    /// Whether a statement of the service's waits for a lock.
    pub async fn waits_for_a_lock(&self) -> Result<bool, Failure> {
        let waiting = self.busy_where("wait_event_type = 'Lock'").await?;
        Ok(!waiting.is_empty())
    }

    async fn busy_where(&self, condition: &str) -> Result<Vec<String>, Failure> {
        let sql = format!(
            "SELECT pid, state, left(query, 160) AS query, round(extract(epoch FROM now() - query_start), 1) AS secs
               FROM pg_stat_activity
              WHERE usename = '{}' AND backend_type = 'client backend' AND state <> 'idle' AND {condition}",
            self.role
        );
        let rows = self.lookout.ask(&sql).await?;
        let told = rows.iter().map(|row| {
            let text = |column| row.get(column).unwrap_or("");
            let query = text("query").split_whitespace().collect::<Vec<_>>().join(" ");
            format!(
                "server process {}, {} for {} s: {query}",
                text("pid"),
                text("state"),
                text("secs")
            )
        });
        Ok(told.collect())
    }

    /// Waits until the server has nothing to do for the service any more.
    pub async fn until_idle(&self, deadline: Duration) -> Result<(), Failure> {
        self.until_idle_where("true", deadline).await
    }

    /// Waits until these server processes have nothing to do.
    pub async fn until_idle_of(&self, pids: &HashSet<i32>, deadline: Duration) -> Result<(), Failure> {
        let pids: Vec<String> = pids.iter().chain([&0]).map(i32::to_string).collect();
        self.until_idle_where(&format!("pid IN ({})", pids.join(", ")), deadline)
            .await
    }

    async fn until_idle_where(&self, condition: &str, deadline: Duration) -> Result<(), Failure> {
        let last = std::sync::Mutex::new(Vec::new());
        let idle = within(deadline, "the end of the service's statements", async {
            loop {
                let busy = self.busy_where(condition).await?;
                let idle = busy.is_empty();
                if let Ok(mut last) = last.lock() {
                    *last = busy;
                }
                if idle {
                    return Ok(());
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
        match idle.await {
            Ok(asked) => asked,
            Err(failure) => {
                let last = last.into_inner().unwrap_or_default();
                Err(last.into_iter().fold(failure, Failure::evidence))
            }
        }
    }

    pub async fn record(&self, report: &str) -> Result<Record, Failure> {
        let events = self
            .lookout
            .ask(&format!(
                "SELECT event FROM audit WHERE report = '{report}' ORDER BY id"
            ))
            .await?;
        let events = events.iter().filter_map(|row| row.text(0).map(str::to_owned));
        let results = self
            .lookout
            .ask(&format!(
                "SELECT count(*), coalesce(sum(cents), 0) FROM results WHERE report = '{report}'"
            ))
            .await?;
        let number = |n| {
            let text = results.first().and_then(|row| row.text(n));
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        Ok(Record {
            events: events.collect(),
            rows: number(0),
            total_cents: number(1),
        })
    }

    /// Waits until the audit tells an end of that report; the record then.
    pub async fn until_ended(&self, report: &str, deadline: Duration) -> Result<Record, Failure> {
        let what = format!("an end of {report} in the audit");
        within(deadline, &what, async {
            loop {
                let record = self.record(report).await?;
                if !record.ends().is_empty() {
                    return Ok(record);
                }
                tokio::time::sleep(AGAIN).await;
            }
        })
        .await?
    }
}
