//! Who has to wait for whom.

use std::time::Duration;

use harness::{Check, Failure, OrObserved, Outcome, eventually, within};

use crate::crowd::Writer;
use crate::others::{REGIONS, moderate};
use crate::stage::{Stage, ours};
use crate::subject::Status;

const QUEUE: &str = "What one open transaction has locked, the next one has to wait for: a counter in one row, or an entry \
                     that has to be unique, lines up all the writers of a region behind the slowest.";

/// Liveness only.
const DEADLINE: Duration = Duration::from_secs(15);

/// While somebody's sign-up is open, others sign up in the same region, with the same address even, and are moderated, and
/// the service changes whom it likes.
pub async fn pass_each_other(cx: &Check, stage: &mut Stage) -> Outcome {
    let region = cx.draw("region", &REGIONS);
    let directory = stage.replica(2).await?;
    let (email, again) = ("slow.one@example.org", "Slow.One@Example.org");
    let open = Writer::open(stage, region, email).await?;
    let open = open.or_observed("a sign-up had to wait although nobody was in the way")?;
    let active = stage.active(region).await?;
    let waited =
        |what: &str| Failure::new(format!("{what} had to wait for a sign-up in its region")).because(QUEUE);

    let second = Writer::open(stage, region, again).await?;
    let second = second.ok_or_else(|| waited("another sign-up"))?;
    let impatient = "SET lock_timeout = '1s'";
    stage.admin.execute(impatient).await.map_err(ours)?;
    match stage.admin.execute(&moderate(active[0].id, "closed")).await {
        Err(error) if error.sqlstate() == Some("55P03") => return Err(waited("moderation")),
        moderated => moderated.or_observed("moderation failed").map(drop)?,
    }

    let (one, other) = (active[1].id, active[2].id);
    let changes = async {
        directory
            .set_status(one, Status::Suspended)
            .await
            .or_observed("set_status failed")?;
        directory
            .set_bio(other, "Does not wait.")
            .await
            .or_observed("set_bio failed")
    };
    let blocked = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = '{}' \
         AND ARRAY[{}, {}] && pg_blocking_pids(pid)",
        stage.pg.role(),
        open.pid(),
        second.pid(),
    );
    let watch = eventually(DEADLINE, "a session that waits", async || {
        let waiting: u32 = stage.ask_one(&blocked).await.ok()?;
        (waiting > 0).then_some(())
    });
    tokio::select! {
        changed = within(DEADLINE, "the end of set_status and set_bio", changes) => changed??,
        seen = watch => return Err(seen.map_or_else(|failure| failure, |()| waited("the service"))),
    }
    second.commit().await?;
    open.commit().await?;

    // Two came, and two have gone.
    let count = directory
        .count_active(region)
        .await
        .or_observed("count_active failed")?;
    if usize::try_from(count) != Ok(active.len()) {
        let observed = format!(
            "after two sign-ups and two suspensions {count} users are counted, {} are active",
            active.len()
        );
        return Err(Failure::new(observed)
            .because("What is counted by hand has to be counted in every transaction, with its outcome."));
    }
    Ok(())
}
