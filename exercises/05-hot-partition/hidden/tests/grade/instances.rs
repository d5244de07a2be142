//! A deployment on the way from one setting to another.

use harness::{Check, Outcome, ensure};
use hot_partition_hidden::reader;
use hot_partition_hidden::stage::{LONG, Stage, done};

const SIZES: &str = "While a deployment is under way, instances with both settings write: the larger one has to look \
                     wherever the smaller one may have written.";

pub async fn rolling(cx: &Check) -> Outcome {
    let stage = Stage::with_shards(cx, 64).await?;
    let mut smaller = stage.cfg(LONG);
    smaller.shards = 32;
    let (old, new) = (stage.instance_with(smaller), stage.instance());
    let mut events = Vec::new();
    for _ in 0..3 {
        for log in [&old, &new] {
            let written = stage.events(20);
            stage.append_all(log, stage.big, &written).await?;
            events.extend(written);
        }
    }
    let log = stage.instance();
    let expected = stage.all(&events);
    let shown = reader::everything(&log, stage.big, 30, expected.len()).await?;
    reader::shows(&shown, &expected, SIZES)?;
    let total = done("a total", log.total(stage.big)).await?;
    ensure!(
        total == expected.len() as u64,
        SIZES,
        "the total is {total} where there are {} events",
        expected.len()
    );
    for event in events.iter().step_by(3) {
        let found = done("a look at one event", log.get(stage.big, event.id)).await?;
        ensure!(
            found.as_ref() == Some(event),
            SIZES,
            "get says {found:?} for an event that is there"
        );
    }
    Ok(())
}
