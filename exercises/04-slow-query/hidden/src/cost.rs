use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use harness::postgres::StatementStats;
use harness::{Failure, OrObserved};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::stage::{Stage, ours};
use crate::subject::{self, Directory};

/// A prepared statement gets a plan of its own for its first five executions; only then may the server settle on one
/// for all parameters. So a call is judged by what it costs before and after.
pub const EXECUTIONS: u64 = 12;

/// The dearest of [`EXECUTIONS`] calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Pages of 8 kB that the call's statements looked at, in shared memory or not. Blocks of temporary files and of the
    /// planner's own catalogue look-ups are not counted.
    pub blocks: u64,
    /// Which call that was, from 1.
    pub execution: u64,
    /// Data statements of the call that sent the most.
    pub statements: u64,
}

/// Makes one call [`EXECUTIONS`] times and returns the worst of it. The first call of all warms the connection up and is
/// not counted. What is `hopeless` after the first few executions is not repeated: more of them would not change a
/// verdict, only the time until it is told.
pub async fn of_calls<T>(
    stage: &mut Stage,
    hopeless: u64,
    mut call: impl AsyncFnMut(u64) -> subject::Result<T>,
) -> Result<Cost, Failure> {
    let mut stats: StatementStats = stage.pg.statement_stats().await?;
    call(0).await.or_observed("a call returned an error")?;
    let mut worst = Cost::default();
    for execution in 1..=EXECUTIONS {
        stats.reset().await?;
        let before = stage.tap().counts();
        call(execution).await.or_observed("a call returned an error")?;
        let statements = stage.tap().counts().since(&before).statements;
        let blocks = stats.read().await?.iter().map(|statement| statement.blocks).sum();
        if blocks > worst.blocks {
            worst.blocks = blocks;
            worst.execution = execution;
        }
        worst.statements = worst.statements.max(statements);
        if worst.blocks > hopeless && execution > 1 {
            break;
        }
    }
    Ok(worst)
}

/// The plan of the statement that `call` sends, as the server chose it for the prepared statement with its parameters:
/// written by `auto_explain` into the subject's own session, at the execution that was the dearest.
pub async fn plan(
    stage: &mut Stage,
    execution: u64,
    call: impl AsyncFn(&Directory) -> subject::Result<()>,
) -> Result<String, Failure> {
    let alter = format!("ALTER ROLE \"{}\"", stage.pg.role());
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_buffers = on",
        "auto_explain.log_timing = off",
        "auto_explain.log_level = notice",
    ] {
        stage.admin.execute(&format!("{alter} SET {setting}")).await.map_err(ours)?;
    }
    let replica = stage.replica(1).await?;
    for _ in 0..execution {
        call(&replica).await.or_observed("a call returned an error")?;
    }
    let notices = notices().await;
    for _ in 0..1 {
        call(&replica).await.or_observed("a call returned an error")?;
    }
    stage.admin.execute(&format!("{alter} RESET ALL")).await.map_err(ours)?;
    Ok(notices.join("\n"))
}
