//! The conversation between `xtask` and the process of one check.
//!
//! The check's standard input is one end of a socket pair. `xtask` writes one [`Job`] as a line of JSON; the check
//! answers with [`Line`]s, each carrying the job's nonce and the next number. Nothing of it passes through the
//! environment, the arguments or standard output, where a program under test could read or forge it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Verdict;
pub use crate::servers::{Answer, DynamoDbJob, EtcdJob, PgBouncerJob, RedisJob, Wanted, ZooKeeperJob};

/// The version of the conversation. Both ends are built from one tree, so another version means a stale program.
pub const VERSION: u32 = 3;

/// Names the check that a child process is to run; its presence makes a hidden program a child.
pub const CHECK_VARIABLE: &str = "WAR_STORIES_CHECK";

/// What a check's process exits with after it has said everything. Not 0, so that a program under test that exits
/// early, even cleanly, is never taken for one that was judged.
pub const JUDGED_EXIT: i32 = 86;

/// How long the watchdog of a check that has run out of time may take to say where everything stands. Both ends wait for it.
pub const LAST_WORDS_MAX: Duration = Duration::from_secs(4);

/// The longest line that is read from a check, in bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What a check is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub version: u32,
    /// Repeated on every line of the answer.
    pub nonce: String,
    /// Feeds every random choice of the check.
    pub seed: u64,
    /// Record the call sites of allocations: slower, asked for when a budget of memory was exceeded.
    pub sites: bool,
    /// The PostgreSQL server to use, if the scenario has one.
    pub postgres: Option<PostgresJob>,
}

/// A PostgreSQL server as a check gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PostgresJob {
    pub host: String,
    pub port: u16,
    /// A superuser, for the check's own questions; the subject gets a role of its own.
    pub admin_user: String,
    pub admin_password: String,
    /// The database that the check's own database is copied from; none: an empty one.
    pub template: Option<String>,
    /// The name of the check's own database, which is its role's name as well.
    pub database: String,
}

/// One line from a check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub nonce: String,
    /// 0, 1, 2 … without a gap.
    pub number: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// What a check says. A complete conversation is `Started`, any number of `Stage`, `Measured`, `Sites`,
/// `Explained`, `Method`, `Wants`, then `Judged`, `Ended`.
/// One that ends with `Stuck` is complete as well, and a failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The check begins and says how long it may take, in milliseconds.
    Started { check: String, deadline_ms: u64 },
    /// What the check is about to do: the last words of a check that hangs.
    Stage { doing: String },
    /// A budget's figure.
    Measured { metric: String, value: f64 },
    /// Where memory came from when `metric` was measured, the largest first; only when the job asked for it.
    Sites { metric: String, sites: Vec<Site> },
    /// Why `metric` may be what it is: the misconception, and what was seen. Told when its budget is exceeded.
    Explained {
        metric: String,
        because: String,
        evidence: Vec<String>,
    },
    /// The check asks for a server of its own, and waits for the [`Answer`].
    Wants { wanted: Wanted },
    /// How `metric` was measured, where there is more than one way; told whatever the verdict.
    Method { metric: String, how: String },
    /// Nothing happens any more: the last words of the check's watchdog, before its parent ends the process.
    Stuck(Stuck),
    /// What was found.
    Judged(Judgement),
    /// All that the check started has been taken down; `Judged` stands.
    Ended,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub verdict: Verdict,
    /// What was seen, in one sentence. Empty for a pass.
    pub observed: String,
    /// The misconception, or the reason why the machine could not tell.
    pub because: Option<String>,
    pub evidence: Vec<String>,
}

/// What a check looked like when nothing happened any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stuck {
    /// What had not happened, and since when.
    pub observed: String,
    /// The misconception.
    pub because: Option<String>,
    /// Which threads are blocked and where, what the taps hold, which tasks wait for what.
    pub evidence: Vec<String>,
}

/// A place in the source that allocates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// `file:line`, the innermost frame of the workspace first, its callers after it.
    pub frames: Vec<String>,
    pub allocations: u64,
    /// Bytes asked for here in all.
    pub bytes: u64,
    /// Bytes asked for here and not yet given back.
    pub live_bytes: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_flat_object() {
        let line = Line {
            nonce: "5eed".into(),
            number: 2,
            event: Event::Measured {
                metric: "live_bytes".into(),
                value: 64.0,
            },
        };
        let text = serde_json::to_string(&line).unwrap();
        insta::assert_snapshot!(text, @r#"{"nonce":"5eed","number":2,"event":"measured","metric":"live_bytes","value":64.0}"#);
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }

    #[test]
    fn a_line_without_its_nonce_is_refused() {
        let forged = r#"{"number":0,"event":"ended"}"#;
        assert!(serde_json::from_str::<Line>(forged).is_err());
    }
}
