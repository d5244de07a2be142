//! Whether anybody connected past the taps.
//!
//! The server counts sessions per database (`pg_stat_database.sessions`), those of ordinary clients only. A session
//! adds itself before it says for the first time that it is ready, and at the latest while it ends, before it leaves
//! `pg_stat_activity` (PostgreSQL 15, `pgstat_report_connect`, `pgstat_shutdown_hook`; a statistics lock that is taken
//! at that moment puts the first off, never the second). So once nobody is left but the grader, the count is complete.
//!
//! Cannot see: a session that hides among those whose startup the tap passed on without learning its outcome (cut
//! while connecting): each leaves room for one. Sessions of the subject in other databases; its role may connect to
//! none that a check or the seeding made.

use super::PgTap;
use super::fixture::{broken, literal};
use crate::{Failure, Outcome, eventually};
use pgwire::Client;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// How long sessions may take to end once their client is gone.
const WIND_DOWN: Duration = Duration::from_secs(5);

/// Sessions that the grader made past the taps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Graders {
    /// Counted apart: a server process's number may be used again.
    sessions: u64,
    pids: HashSet<i32>,
}

impl Graders {
    pub fn add(&mut self, pid: i32) {
        self.sessions += 1;
        self.pids.insert(pid);
    }
}

/// Sessions that are accounted for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    graders: Graders,
    /// Made through the taps.
    tapped: u64,
    tapped_pids: HashSet<i32>,
    /// Passed on by a tap, and over before the server said whether there was a session.
    unsure: u64,
}

impl Known {
    pub fn of(taps: &[Arc<PgTap>], graders: Graders) -> Known {
        let mut known = Known {
            graders,
            ..Known::default()
        };
        for tap in taps {
            let (begun, established) = tap.sessions_begun();
            known.tapped += established;
            known.unsure += begun - established;
            known.tapped_pids.extend(tap.pids());
        }
        known
    }
}

/// Compares the server's sessions in `database` with those that are known. The subject must be gone; a statement of
/// its that still runs is ended here.
pub(super) async fn none_past_the_taps(admin: &mut Client, database: &str, known: &Known) -> Outcome {
    let others = format!(
        "SELECT pid, client_port, coalesce(state, 'starting') AS state, query FROM pg_stat_activity
          WHERE datname = {} AND backend_type = 'client backend'",
        literal(database)
    );
    let left = eventually(WIND_DOWN, "the end of the subject's sessions", async || {
        let rows = admin.query(&others).await.ok()?;
        let left = rows
            .into_iter()
            .filter(|row| !known.graders.pids.contains(&pid(row.get("pid"))));
        let pids: Vec<i32> = left.map(|row| pid(row.get("pid"))).collect();
        if pids.is_empty() {
            return Some(());
        }
        // Those of the taps have lost their client, and nobody waits for what they still do.
        for pid in pids.iter().filter(|pid| known.tapped_pids.contains(pid)) {
            admin
                .query(&format!("SELECT pg_terminate_backend({pid})"))
                .await
                .ok()?;
        }
        None
    })
    .await;
    if left.is_err() {
        return Err(past(
            admin.query(&others).await.map_err(broken("list sessions"))?,
            known,
        ));
    }
    let counted = admin
        .query(&format!(
            "SELECT sessions FROM pg_stat_database WHERE datname = {}",
            literal(database)
        ))
        .await
        .map_err(broken("count sessions"))?;
    let counted: u64 = counted
        .first()
        .and_then(|row| row.text(0)?.parse().ok())
        .unwrap_or(0);
    judge(counted, known)
}

fn judge(counted: u64, known: &Known) -> Outcome {
    let accounted = known.tapped + known.unsure + known.graders.sessions;
    if counted <= accounted {
        return Ok(());
    }
    Err(Failure::new("connected past the tap")
        .because("The service must reach its database by the address that it was given.")
        .evidence(format!(
            "the server counts {counted} sessions in this database; {} came through taps, {} are the grader's",
            known.tapped + known.unsure,
            known.graders.sessions
        )))
}

fn past(rows: Vec<pgwire::Row>, known: &Known) -> Failure {
    let mut failure = Failure::new("connected past the tap, and still connected")
        .because("The service must reach its database by the address that it was given.");
    for row in rows
        .iter()
        .filter(|row| !known.graders.pids.contains(&pid(row.get("pid"))))
    {
        let text = |column| row.get(column).unwrap_or("");
        failure = failure.evidence(format!(
            "server process {}, client port {}, {}: {}",
            text("pid"),
            text("client_port"),
            text("state"),
            text("query")
        ));
    }
    failure
}

fn pid(text: Option<&str>) -> i32 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::all_known(5, true)]
    #[case::one_was_cut_while_connecting(4, true)]
    #[case::one_more_than_known(6, false)]
    fn sessions_are_compared(#[case] counted: u64, #[case] fine: bool) {
        let known = Known {
            graders: Graders {
                sessions: 2,
                ..Graders::default()
            },
            tapped: 2,
            unsure: 1,
            ..Known::default()
        };
        assert_eq!(judge(counted, &known).is_ok(), fine);
    }
}
