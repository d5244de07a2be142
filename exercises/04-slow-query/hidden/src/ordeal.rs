//! What a deploy is put through, at each of its waits in turn.

use harness::{Check, Failure, OrObserved, Outcome, ensure};

use crate::deploy::{Deploy, Step, Writer};
use crate::stage::Stage;

/// More waits than any deploy has; after them it is let on in one go.
const WAITS_MAX: u32 = 40;

/// Deploys while there is always a sign-up whose transaction is open, and another one coming.
pub async fn while_people_sign_up(cx: &Check, stage: &mut Stage) -> Outcome {
    let mut open = Writer::first(stage, "writer0@example.org").await?;
    let mut deploy = Deploy::start(stage)?;
    for n in 1..=WAITS_MAX {
        let step = deploy.next_step(stage, &open).await?;
        cx.note(format!("{step:?}"));
        if let Step::Ended(_) = step {
            break;
        }
        // The next one comes before the one that the deploy waits for has gone.
        let Some(next) = Writer::open(stage, &format!("writer{n}@example.org")).await? else {
            return Err(stood_still(&step));
        };
        open.commit().await?;
        open = next;
        if !matches!(step, Step::Aside { .. }) {
            // It tries again from the start, for as long as anybody is in the way.
            break;
        }
    }
    open.commit().await?;
    deploy
        .end()
        .await?
        .or_observed("migrate failed while people signed up")
}

/// Why a sign-up had to wait for more than a second.
fn stood_still(step: &Step) -> Failure {
    let statement = match step {
        Step::InLine { statement } | Step::Aside { statement } => statement.as_str(),
        _ => "a statement that had given up once",
    };
    let because = if statement.to_uppercase().contains("DROP INDEX") {
        "DROP INDEX needs the table to itself: it waits for the open transaction, and every writer queues behind it; use \
         CONCURRENTLY with `-- no-transaction`."
    } else if statement.to_uppercase().contains("CREATE INDEX") {
        "The SHARE lock queues every writer for the length of the build, and before that for as long as any transaction is \
         open; use CONCURRENTLY with `-- no-transaction`."
    } else {
        "Whoever waits for a table lock makes every writer wait behind it; wait for less than a second, give up, try again."
    };
    Failure::new(format!(
        "a sign-up waited for more than a second behind `{statement}`"
    ))
    .because(because)
}

/// Deploys again and again, and kills the first deploy at its first wait, the second at its second, and so on, until one
/// comes to its end.
pub async fn killed_at_every_wait(cx: &Check, stage: &mut Stage) -> Outcome {
    for wait in 1..=WAITS_MAX {
        let writer = |n| format!("writer{wait}.{n}@example.org");
        let mut open = Writer::first(stage, &writer(0)).await?;
        let mut deploy = Deploy::start(stage)?;
        for n in 1..=wait {
            let step = deploy.next_step(stage, &open).await?;
            if n == wait && !matches!(step, Step::Ended(_)) {
                cx.note(format!("kill {wait}: {step:?}"));
                deploy.kill(stage).await?;
                open.commit().await?;
                break;
            }
            if !matches!(step, Step::Aside { .. }) {
                open.commit().await?;
                return deploy.end().await?.map_err(|error| not_repeatable(&error));
            }
            let next = Writer::open(stage, &writer(n))
                .await?
                .ok_or_else(|| stood_still(&step))?;
            open.commit().await?;
            open = next;
        }
    }
    Ok(())
}

fn not_repeatable(error: &str) -> Failure {
    Failure::new(format!("a deploy after a killed one failed: {error}")).because(
        "CREATE INDEX CONCURRENTLY is not transactional: a killed one leaves its name behind, on an invalid index.",
    )
}

/// No index costs every write and serves no query.
pub async fn all_valid(stage: &mut Stage, after: &str) -> Outcome {
    let invalid = stage.invalid_indices().await?;
    ensure!(
        invalid.is_empty(),
        "A killed CREATE INDEX CONCURRENTLY leaves an invalid index, and IF NOT EXISTS takes it for done: it is paid for by \
         every write and used by no query.",
        "{after} succeeded and left {invalid:?} invalid"
    );
    Ok(())
}
