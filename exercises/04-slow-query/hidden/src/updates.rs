//! What a change costs the indices of the grown table.

use harness::{Check, OrObserved, Outcome, ensure};

use crate::bill::{Bill, Call};
use crate::others::ids;
use crate::stage::Stage;

/// How many users get a new bio.
const UPDATES: usize = 500;

/// In blocks: a user is found by one descent of an index, and a new entry goes into each index.
const CHANGE_LIMIT: u64 = 200;

pub async fn on_the_grown_table(cx: &Check) -> Outcome {
    let mut stage = Stage::grown(cx).await?;
    cx.stage("deploying");
    stage.migrate().await?;
    stage.vacuum().await?;
    sizes(cx, &mut stage).await?;

    cx.stage("changing bios");
    let directory = stage.replica(1).await?;
    let ids = ids(cx, &mut stage, UPDATES).await?;
    let mut writes = stage.pg.index_writes().await?;
    // Longer than what it replaces, so that hardly any page has room for it: an update that stays on its page leaves the
    // indices alone.
    let bio = format!(
        "Moved to another town in run {:020} and took the bicycle, the cat, the old maps, the bread oven, the collection of \
         timetables and three of the four chairs along.",
        cx.seed()
    );
    for &id in &ids {
        directory.set_bio(id, &bio).await.or_observed("set_bio failed")?;
    }
    let written = writes.read().await?;
    let landed: usize = stage
        .ask_one(&format!("SELECT count(*) FROM users WHERE bio = '{bio}'"))
        .await?;
    ensure!(
        landed == ids.len(),
        "What is not in the table when the call returns is lost with the process.",
        "{UPDATES} bios were set, {landed} landed"
    );

    let mut bill = Bill::new(&mut stage, &directory);
    for call in [Call::Bio { ids: &ids }, Call::Status { ids: &ids }] {
        bill.at_most(call, CHANGE_LIMIT).await?;
    }

    let entries: u64 = written.iter().map(|write| write.entries).sum();
    cx.measure("index_entries_per_update", entries as f64 / ids.len() as f64);
    let told = written.iter().map(|write| {
        let (index, entries) = (&write.index, write.entries);
        format!("{index}: {entries} entries for {UPDATES} updates")
    });
    cx.explain(
        "index_entries_per_update",
        "Each index is one more entry for every update; keep those that a statement uses.",
        told,
    );
    Ok(())
}

async fn sizes(cx: &Check, stage: &mut Stage) -> Outcome {
    let mut indices = stage.pg.sizes().await?;
    indices.retain(|relation| relation.index_of.is_some());
    let bytes: u64 = indices.iter().map(|index| index.size_bytes).sum();
    cx.measure("index_mb", bytes as f64 / 1e6);
    let told = indices
        .iter()
        .map(|index| format!("{}: {:.1} MB", index.name, index.size_bytes as f64 / 1e6));
    cx.explain(
        "index_mb",
        "Reads are fast and every write pays for it: what an index covers is stored and written twice.",
        told,
    );
    Ok(())
}
