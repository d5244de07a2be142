use harness::{Check, Failure, OrObserved, Outcome};

use crate::deploy::one_line;
use crate::diagnosis;
use crate::plan_log;
use crate::stage::{Stage, ours};
use crate::subject::{Cursor, Directory, Result, Status};

/// A prepared statement gets a plan of its own for its first five executions; only then may the server settle on one
/// for all parameters. So a call is judged by what it costs before and after.
pub const EXECUTIONS: usize = 12;

/// A call of the directory that can be made again and again.
#[derive(Clone, Copy, Debug)]
pub enum Call<'a> {
    Page {
        region: &'a str,
        after: Option<&'a Cursor>,
    },
    Count {
        region: &'a str,
    },
    /// One address after the other.
    Address {
        emails: &'a [String],
    },
    /// One user after the other.
    Status {
        ids: &'a [i64],
    },
    Bio {
        ids: &'a [i64],
    },
}

impl Call<'_> {
    fn told(&self) -> &'static str {
        match self {
            Call::Page { .. } => "a page",
            Call::Count { .. } => "a count",
            Call::Address { .. } => "an address",
            Call::Status { .. } => "one set_status",
            Call::Bio { .. } => "one set_bio",
        }
    }

    async fn make(&self, directory: &Directory, n: usize) -> Result<()> {
        match *self {
            Call::Page { region, after } => directory.list_active(region, after.cloned(), 50).await.map(drop),
            Call::Count { region } => directory.count_active(region).await.map(drop),
            Call::Address { emails } => directory.find_by_email(&emails[n % emails.len()]).await.map(drop),
            Call::Status { ids } => directory.set_status(ids[n % ids.len()], Status::Suspended).await,
            Call::Bio { ids } => {
                directory
                    .set_bio(ids[n % ids.len()], "Here since the beginning.")
                    .await
            }
        }
    }
}

/// What the calls of one connection cost.
pub struct Bill<'a> {
    stage: &'a mut Stage,
    directory: &'a Directory,
    /// The data statements of the call that sent the most.
    most: Vec<String>,
}

/// The dearest of several executions of a call.
#[derive(Clone, Copy, Debug, Default)]
struct Dearest {
    /// Pages of 8 kB that the call's statements looked at, in shared memory or not. Cannot see temporary files, nor what
    /// the planner looks up in the catalogue.
    blocks: u64,
    /// Which call that was, from 1.
    execution: usize,
}

impl<'a> Bill<'a> {
    pub fn new(stage: &'a mut Stage, directory: &'a Directory) -> Self {
        Bill {
            stage,
            directory,
            most: Vec::new(),
        }
    }

    /// Records the blocks of the dearest of the calls in [`EXECUTIONS`], and its plan where it went over the limit.
    pub async fn blocks(
        &mut self,
        cx: &Check,
        metric: &str,
        calls: &[Call<'_>],
        limit_blocks: u64,
    ) -> Outcome {
        let (mut worst, mut call) = (Dearest::default(), None);
        for each in calls {
            let dearest = self.dearest(*each, EXECUTIONS, limit_blocks).await?;
            if dearest.blocks > worst.blocks {
                (worst, call) = (dearest, Some(*each));
            }
        }
        cx.measure(metric, worst.blocks as f64);
        if let Some(call) = call.filter(|_| worst.blocks > limit_blocks) {
            let plan = plan(self.stage, call, worst.execution).await?;
            let when = format!(
                "{} blocks at execution {} on one connection",
                worst.blocks, worst.execution
            );
            cx.explain(metric, diagnosis::of_plan(call, &plan), [when, plan]);
        }
        Ok(())
    }

    /// Fails when a call takes more than `limit_blocks` in any of [`EXECUTIONS`], and shows its plan.
    pub async fn at_most(&mut self, call: Call<'_>, limit_blocks: u64) -> Outcome {
        let dearest = self.dearest(call, EXECUTIONS, limit_blocks).await?;
        if dearest.blocks <= limit_blocks {
            return Ok(());
        }
        let plan = plan(self.stage, call, dearest.execution).await?;
        let observed = format!(
            "{} blocks for {}, limit {limit_blocks}",
            dearest.blocks,
            call.told()
        );
        Err(Failure::new(observed)
            .because(diagnosis::of_plan(call, &plan))
            .evidence(plan))
    }

    /// Records the data statements of the call that sent the most of all that were made.
    pub fn statements(self, cx: &Check, metric: &str) {
        cx.measure(metric, self.most.len() as f64);
        let told: Vec<String> = self.most.iter().take(3).map(|sql| one_line(sql)).collect();
        let because = "One call is one statement: each further one is a round trip, and sees another moment.";
        cx.explain(metric, because, told);
    }

    /// The blocks of each call, of the dearer of two executions.
    pub async fn price_list(&mut self, calls: &[Call<'_>]) -> std::result::Result<Vec<u64>, Failure> {
        let mut prices = Vec::new();
        for call in calls {
            prices.push(self.dearest(*call, 2, u64::MAX).await?.blocks);
        }
        Ok(prices)
    }

    /// Makes one call so often, after one that warms the connection up. What is ten times over the limit is not repeated:
    /// more of it would not change a verdict, only delay it.
    async fn dearest(
        &mut self,
        call: Call<'_>,
        executions: usize,
        limit_blocks: u64,
    ) -> std::result::Result<Dearest, Failure> {
        let mut stats = self.stage.pg.statement_stats().await?;
        call.make(self.directory, 0).await.or_observed("a call failed")?;
        let mut dearest = Dearest::default();
        for execution in 1..=executions {
            stats.reset().await?;
            let before = self.stage.tap().statements().len();
            call.make(self.directory, execution)
                .await
                .or_observed("a call failed")?;
            let sent = self.stage.tap().statements_after(before);
            let sent: Vec<String> = sent
                .iter()
                .filter(|sent| sent.data)
                .map(|sent| sent.sql.to_string())
                .collect();
            if sent.len() > self.most.len() {
                self.most = sent;
            }
            let blocks = stats.blocks().await?;
            if blocks > dearest.blocks {
                dearest = Dearest { blocks, execution };
            }
            if dearest.blocks > limit_blocks.saturating_mul(10) {
                break;
            }
        }
        Ok(dearest)
    }
}

/// The plan of what `call` sends, as the server chose it for this driver's prepared statement with its parameters, at
/// that execution on a new connection.
///
/// `auto_explain` writes it into the subject's own session, where the driver reports it, so there is nothing to guess
/// about types, parameters and the number of executions.
async fn plan(stage: &mut Stage, call: Call<'_>, execution: usize) -> std::result::Result<String, Failure> {
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
    // One more than counted: the first warms the connection up.
    for n in 0..=execution {
        log.take();
        call.make(&replica, n).await.or_observed("a call failed")?;
        plans = log.take();
    }
    for setting in settings {
        let name = setting.split_once(" = ").map_or(setting, |(name, _)| name);
        let reset = format!("ALTER ROLE \"{role}\" RESET {name}");
        stage.admin.execute(&reset).await.map_err(ours)?;
    }
    if plans.is_empty() {
        return Ok(
            "(this driver does not report the server's notices; see what auto_explain logs)".to_owned(),
        );
    }
    Ok(plans.join("\n"))
}
