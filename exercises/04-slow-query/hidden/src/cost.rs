use harness::{Failure, OrObserved};

use crate::plan_log;
use crate::stage::{Stage, ours};
use crate::subject::{self, Directory};

/// A prepared statement gets a plan of its own for its first five executions; only then may the server settle on one
/// for all parameters. So a call is judged by what it costs before and after.
pub const EXECUTIONS: u32 = 12;

/// The dearest of [`EXECUTIONS`] calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Pages of 8 kB that the call's statements looked at, in shared memory or not. Cannot see temporary files, nor what
    /// the planner looks up in the catalogue.
    pub blocks: u64,
    /// Which call that was, from 1.
    pub execution: u32,
    /// Data statements of the call that sent the most.
    pub statements: u64,
}

/// Makes one call [`EXECUTIONS`] times, after one that warms the connection up, and returns the worst of it. What is ten
/// times over `limit_blocks` is not repeated: more of it would not change a verdict, only delay it.
pub async fn of_calls<T>(
    stage: &Stage,
    limit_blocks: u64,
    mut call: impl AsyncFnMut(u32) -> subject::Result<T>,
) -> Result<Cost, Failure> {
    let mut stats = stage.pg.statement_stats().await?;
    call(0).await.or_observed("a call failed")?;
    let mut worst = Cost::default();
    for execution in 1..=EXECUTIONS {
        stats.reset().await?;
        let before = stage.tap().counts();
        call(execution).await.or_observed("a call failed")?;
        let sent = stage.tap().counts().since(&before).statements;
        worst.statements = worst.statements.max(sent);
        let blocks = stats.blocks().await?;
        if blocks > worst.blocks {
            worst.blocks = blocks;
            worst.execution = execution;
        }
        if worst.blocks > limit_blocks.saturating_mul(10) {
            break;
        }
    }
    Ok(worst)
}

/// The plan of what `call` sends, as the server chose it for this driver's prepared statement with its parameters.
///
/// `auto_explain` writes it into the subject's own session, where the driver reports it; so there is nothing to guess
/// about types, parameters and the number of executions.
pub async fn plan(
    stage: &mut Stage,
    execution: u32,
    call: impl AsyncFn(&Directory) -> subject::Result<()>,
) -> Result<String, Failure> {
    let role = stage.pg.role().to_owned();
    let settings = [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_buffers = on",
        "auto_explain.log_timing = off",
        "auto_explain.log_level = notice",
    ];
    for setting in settings {
        let alter = format!("ALTER ROLE \"{role}\" SET {setting}");
        stage.admin.execute(&alter).await.map_err(ours)?;
    }
    let log = plan_log::listen();
    let replica = stage.replica(1).await?;
    let mut plans = Vec::new();
    for _ in 0..=execution {
        log.take();
        call(&replica).await.or_observed("a call failed")?;
        plans = log.take();
    }
    let reset = format!("ALTER ROLE \"{role}\" RESET ALL");
    stage.admin.execute(&reset).await.map_err(ours)?;
    Ok(plans.join("\n"))
}
