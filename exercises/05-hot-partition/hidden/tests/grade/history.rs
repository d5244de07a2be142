//! What was written before the change, and what comes to it.

use harness::{Check, Outcome, ensure};
use hot_partition_hidden::reader;
use hot_partition_hidden::stage::{Stage, done};
use hot_partition_hidden::subject::Patch;
use hot_partition_hidden::traffic::SMALL;

const BEFORE: &str =
    "What was written before lies under the old key, and every reader of it has to look there too.";

pub async fn kept(cx: &Check) -> Outcome {
    let stage = Stage::set(cx).await?;
    let newer = stage.events(30);
    for customer in [stage.big, SMALL[1]] {
        let log = stage.instance();
        let untouched = reader::everything(&stage.instance(), customer, 25, stage.history.len()).await?;
        reader::shows(&untouched, &stage.all(&[]), BEFORE)?;
        stage.append_all(&log, customer, &newer).await?;
        let mut expected = stage.all(&newer);
        let total = done("a total", log.total(customer)).await?;
        ensure!(
            total == expected.len() as u64,
            BEFORE,
            "the total of {customer} is {total} where there are {} events",
            expected.len()
        );
        for event in [&stage.history[0], &stage.history[41], &newer[7]] {
            let found = done("a look at one event", log.get(customer, event.id)).await?;
            ensure!(
                found.as_ref() == Some(event),
                BEFORE,
                "get says {found:?} for an event that is there"
            );
            let body = format!("corrected {}", event.id);
            let patch = Patch { body: body.clone() };
            let amended = done("a correction", log.amend(customer, event.id, patch)).await?;
            ensure!(amended, BEFORE, "amend says that there is no event {}", event.id);
            for known in expected.iter_mut().filter(|known| known.id == event.id) {
                known.body.clone_from(&body);
            }
        }
        let nobody = stage.event().id;
        let found = done(
            "a look at an event that does not exist",
            log.get(customer, nobody),
        )
        .await?;
        let patch = Patch { body: String::new() };
        let amended = done(
            "a correction of an event that does not exist",
            log.amend(customer, nobody, patch),
        )
        .await?;
        ensure!(
            found.is_none() && !amended,
            "What does not exist is not found, and not corrected.",
            "get says {found:?} and amend says {amended} for an event that nobody wrote"
        );
        for log in [log, stage.instance()] {
            let shown = reader::everything(&log, customer, 25, expected.len()).await?;
            reader::shows(&shown, &expected, BEFORE)?;
            let total = done("a total", log.total(customer)).await?;
            ensure!(
                total == expected.len() as u64,
                "A correction replaces an event, and adds none.",
                "the total of {customer} is {total} after three corrections where there are {} events",
                expected.len()
            );
        }
    }
    Ok(())
}
