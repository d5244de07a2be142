//! Batches as jobs: each is reported to its caller, and leaves nothing behind when it is done.

use std::sync::Arc;

use bytes::Bytes;
use harness::{Check, Failure, Outcome, alloc, ensure};
use memory_leak_hidden::subject::{Hub, HubError, IngestReport, Malformed};
use memory_leak_hidden::traffic::{self, batch_that_panics, small_batch};

use crate::batches::introduce;
use crate::observe::{Still, because, housekeeping, kept_since, kib, patient_hub};

const FINISHED: &str = "What has been reported is still owned by something: a JoinSet, for one, keeps each finished task \
                        until somebody joins it.";

/// What a pool keeps for a thread of its own at most: its handle, its name, and what libraries keep for each thread.
const THREAD_BYTES: i64 = 2048;

/// Threads of this process; 0 where the system does not tell.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

pub async fn reports(cx: &Check) -> Outcome {
    let hub = Arc::new(patient_hub(cx));
    let fleet = traffic::fleet("oslo", 4);
    introduce(&hub, "oslo", &fleet).await?;
    let (good, panics) = (small_batch("oslo", &fleet, 1), batch_that_panics("oslo"));
    same_report(&beside(&hub, &panics).await?, (0, 1))?;
    let malformed = hub.ingest("\u{9}oslo".into()).await;
    ensure!(
        malformed == Err(HubError::Malformed(Malformed { at: 1 })),
        "A batch that is no frame is refused, and nothing of it is stored.",
        "a malformed batch was answered with {malformed:?}"
    );
    // The first few make the room that all of them use.
    in_turn(&hub, &good, fleet.len(), 200).await?;
    let (before, threads_before) = (alloc::settled().await, threads());
    in_turn(&hub, &good, fleet.len(), 5000).await?;
    let kept = kept_since(before).await;
    // A pool of threads grows with what the machine makes it wait for, and gives its threads back later.
    let threads = threads().saturating_sub(threads_before);
    cx.note(format!("{threads} more threads than before"));
    let kept = (kept - threads as i64 * THREAD_BYTES).max(0);
    cx.measure("kept_after_ingests_bytes", kept as f64);
    because(cx, "kept_after_ingests_bytes", FINISHED);
    let batches: Vec<_> = (0..64).map(|n| if n == 9 { &panics } else { &good }).collect();
    let ingests: Vec<_> = batches.iter().map(|batch| beside(&hub, batch)).collect();
    for (n, ingest) in ingests.into_iter().enumerate() {
        let expected = if n == 9 { (0, 1) } else { (fleet.len(), 0) };
        same_report(&ingest.await?, expected)?;
    }
    Ok(())
}

async fn in_turn(hub: &Hub, batch: &Bytes, records: usize, times: usize) -> Outcome {
    let _still = Still::hold();
    for _ in 0..times {
        same_report(&hub.ingest(batch.clone()).await, (records, 0))?;
    }
    Ok(())
}

/// An ingest in a task of its own, like a gateway's connection has.
fn beside(
    hub: &Arc<Hub>,
    batch: &Bytes,
) -> impl Future<Output = Result<Result<IngestReport, HubError>, Failure>> + use<> {
    let (hub, batch) = (Arc::clone(hub), batch.clone());
    let connection = tokio::spawn(async move { hub.ingest(batch).await });
    async {
        connection.await.map_err(|_| {
            Failure::new("ingest() itself panicked on a batch that the codec panics on").because(
                "Work that may panic needs a boundary: the panic took the gateway's connection with it.",
            )
        })
    }
}

fn same_report(result: &Result<IngestReport, HubError>, (records, panicked): (usize, usize)) -> Outcome {
    let same = result
        .as_ref()
        .is_ok_and(|report| (report.records, report.panicked) == (records, panicked));
    ensure!(
        same,
        "What becomes of a batch is in its report, a panic included; it is lost neither for the caller nor on the way.",
        "a batch was answered with {result:?} instead of {records} records and {panicked} panics"
    );
    Ok(())
}

/// Many gateways at once, then business as usual.
async fn burst(hub: &Arc<Hub>, batch: &Bytes) -> Outcome {
    const AT_ONCE: usize = 16_000;
    // Half of what the smallest finished task takes. What a burst has runtimes and pools of threads keep, a kilobyte per
    // thread at most, is far less in sum.
    const KEPT_MAX: i64 = AT_ONCE as i64 * 160;
    let before = alloc::settled().await;
    let still = Still::hold();
    let ingests: Vec<_> = (0..AT_ONCE).map(|_| beside(hub, batch)).collect();
    for ingest in ingests {
        same_report(&ingest.await?, (2, 0))?;
    }
    drop(still);
    in_turn(hub, batch, 2, 8).await?;
    let kept = kept_since(before).await;
    ensure!(
        kept < KEPT_MAX,
        FINISHED,
        "{} are kept after {AT_ONCE} batches at once, all of them answered, and a few more after them",
        kib(kept)
    );
    Ok(())
}

pub async fn finished_leave_nothing(cx: &Check) -> Outcome {
    const STEP: usize = 2000;
    let hub = Arc::new(patient_hub(cx));
    let fleet = traffic::fleet("oslo", 2);
    let batch = small_batch("oslo", &fleet, 1);
    let mut readings = Vec::new();
    for step in 0..8 {
        in_turn(&hub, &batch, 2, STEP).await?;
        housekeeping().await;
        readings.push(alloc::settled().await.live_bytes);
        if step == 1 && readings[1] - readings[0] < 128 * 1024 {
            return burst(&hub, &batch).await;
        }
    }
    let grown = readings.iter().max().unwrap_or(&0) - readings[0];
    let fell = readings.windows(2).any(|pair| pair[1] < pair[0] - 128 * 1024);
    ensure!(
        !fell,
        "Finished tasks wait for a threshold that idle periods never reach.",
        "up to {} were held for ingests that had long been answered, then given back at once",
        kib(grown)
    );
    Err(Failure::new(format!(
        "{} more are held after {} ingests, all of them answered",
        kib(grown),
        7 * STEP
    ))
    .because(FINISHED))
}
