//! Whether what was changed shows, and when.

use std::time::Duration;

use harness::{Check, Failure, OrObserved, Outcome, ensure};

use crate::listing::page;
use crate::others::{REGIONS, moderate};
use crate::stage::Stage;
use crate::subject::{Directory, Error, Result as Answer, Status};

const STALE: &str =
    "An answer that was kept, in memory or in a materialized view, does not know what others have written.";

const LATER: &str = "A change that is still on its way when the call returns does not show in the next one, and is lost with \
                     the process.";

/// Liveness only: how long a statement may take to reach the database.
const DEADLINE: Duration = Duration::from_secs(10);

/// A bio that a statement may not take for a part of itself.
const BIO: &str = r#"It's "me"; DROP TABLE users; -- \' $1 %s"#;

pub async fn changes_show(cx: &Check, stage: &mut Stage) -> Outcome {
    let (one, other) = (stage.replica(2).await?, stage.replica(2).await?);
    let replicas = [&one, &other];
    let region = cx.draw("region", &REGIONS);
    shows(stage, &replicas, region, "nothing").await?;

    let somebody = |status: &str| {
        format!("SELECT id FROM users WHERE region = '{region}' AND status = '{status}' LIMIT 1")
    };
    let id: i64 = stage.ask_one(&somebody("suspended")).await?;
    is_done_when_it_returns(stage, &one, id).await?;

    let id: i64 = stage.ask_one(&somebody("pending")).await?;
    done("set_status", one.set_status(id, Status::Active).await)?;
    shows(stage, &replicas, region, "set_status on one replica").await?;
    done(
        "set_status to what it is already",
        other.set_status(id, Status::Active).await,
    )?;

    let id: i64 = stage.ask_one(&somebody("active")).await?;
    done("set_status", other.set_status(id, Status::Closed).await)?;
    shows(stage, &replicas, region, "set_status on the other replica").await?;

    let id = stage.sign_up(region, "fresh@example.org").await?;
    shows(stage, &replicas, region, "a sign-up").await?;
    stage.ask(&moderate(id, "suspended")).await?;
    shows(stage, &replicas, region, "moderation").await?;
    at_once(stage, &replicas, region, id).await?;

    done("set_bio", one.set_bio(id, BIO).await)?;
    for replica in replicas {
        let found = replica
            .find_by_email("Fresh@example.org")
            .await
            .or_observed("find_by_email failed")?;
        let found = found.or_observed("a user who has just signed up was not found by address")?;
        ensure!(
            (found.id, found.status, found.bio.as_str()) == (id, Status::Suspended, BIO),
            STALE,
            "after a sign-up, a suspension and a new bio the user is found as {found:?}"
        );
    }
    done("set_bio to what it is already", other.set_bio(id, BIO).await)?;
    unknown("set_bio", one.set_bio(i64::MAX, "Nobody.").await)?;
    unknown("set_status", one.set_status(i64::MAX, Status::Active).await)
}

/// Every replica lists and counts what is in the table.
async fn shows(stage: &mut Stage, replicas: &[&Directory], region: &str, after: &str) -> Outcome {
    let expected = stage.active(region).await?;
    for replica in replicas {
        let (listed, _) = page(replica, region, None, 5_000).await?;
        ensure!(
            listed == expected,
            STALE,
            "after {after} {} users are listed in `{region}`, {} are active",
            listed.len(),
            expected.len()
        );
        let (first, _) = page(replica, region, None, 5).await?;
        ensure!(
            first == expected[..5],
            STALE,
            "after {after} the first five of `{region}` are others"
        );
        counts(replica, region, expected.len(), after).await?;
    }
    Ok(())
}

/// Moderation of the latest user back and forth, and nothing but the next call in between.
async fn at_once(stage: &mut Stage, replicas: &[&Directory], region: &str, id: i64) -> Outcome {
    let others = stage.active(region).await?.len();
    for replica in replicas.iter().cycle().take(6) {
        for active in [true, false] {
            let status = if active { "active" } else { "suspended" };
            stage.ask(&moderate(id, status)).await?;
            counts(replica, region, others + usize::from(active), "moderation").await?;
            let (first, _) = page(replica, region, None, 5).await?;
            ensure!(
                first.iter().any(|user| user.id == id) == active,
                STALE,
                "the first page of `{region}` after user {id} was made {status} is the one from before"
            );
        }
    }
    Ok(())
}

async fn counts(replica: &Directory, region: &str, expected: usize, after: &str) -> Outcome {
    let count = replica
        .count_active(region)
        .await
        .or_observed("count_active failed")?;
    ensure!(
        usize::try_from(count) == Ok(expected),
        STALE,
        "after {after} {count} users are counted in `{region}`, {expected} are active"
    );
    Ok(())
}

/// While its statement is held on the way to the database, a change has not been made.
async fn is_done_when_it_returns(stage: &Stage, replica: &Directory, id: i64) -> Outcome {
    let gate = stage.tap().hold_requests(|request| request.runs_data());
    tokio::select! {
        biased;
        answer = replica.set_bio(id, "Held up.") => {
            answer.or_observed("set_bio failed")?;
            return Err(Failure::new("set_bio returned before its statement had reached the database").because(LATER));
        }
        held = gate.until_waiting(1, DEADLINE) => held?,
    }
    drop(gate);
    let gate = stage.tap().hold_requests(|request| request.runs_data());
    tokio::select! {
        biased;
        answer = replica.set_status(id, Status::Closed) => {
            answer.or_observed("set_status failed")?;
            return Err(Failure::new("set_status returned before its statement had reached the database").because(LATER));
        }
        held = gate.until_waiting(1, DEADLINE) => held?,
    }
    Ok(())
}

fn done(what: &str, answer: Answer<()>) -> Outcome {
    answer
        .or_observed(format_args!("{what} failed"))
        .map_err(|failure| {
            failure.because("A user who is there is known, whether or not there was anything to change.")
        })
}

fn unknown(what: &str, answer: Answer<()>) -> Outcome {
    ensure!(
        matches!(answer, Err(Error::UnknownUser(i64::MAX))),
        "A change of nobody is an error of its own.",
        "{what} of an unknown user answered {answer:?}"
    );
    Ok(())
}
