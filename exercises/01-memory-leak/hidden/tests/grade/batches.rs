//! Batches: what is read from them, and what of them is left when they are done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use harness::{Check, Failure, OrObserved, Outcome, alloc, ensure};
use memory_leak_hidden::subject::{ALARM_LEVEL, DeviceId, FrameBuilder, Hub, IngestReport, Reading};
use memory_leak_hidden::traffic::{self, large_batch, name_of, packed_body, small_batch};

use crate::observe::{because, comes_about, kept_since, kib, patient_hub, soon};

const OF_A_BATCH: &str = "A header is 64 bytes at most: what is kept beyond that is the batch that it came with, or a \
                          copy of it.";
const IN_PLACE: &str = "`into_iter().filter().collect()` works in place: the few that are left keep the room that all of \
                        them had.";
const CLEARED: &str = "Clearing a buffer keeps its capacity: one per device grows to each device's largest body and stays \
                       there.";

const MIB: usize = 1 << 20;
const LARGE: usize = 64;

/// Makes the devices known, so that what is measured later is not their first sight.
pub async fn introduce(hub: &Hub, site: &str, devices: &[DeviceId]) -> Outcome {
    for _ in 0..3 {
        ingest(hub, small_batch(site, devices, 1)).await?;
    }
    Ok(())
}

async fn ingest(hub: &Hub, batch: Bytes) -> Result<IngestReport, Failure> {
    hub.ingest(batch)
        .await
        .or_observed("a well-formed batch was refused")
}

fn header(n: usize, len: usize) -> Vec<u8> {
    (0..len).map(|byte| (byte * 31 + n) as u8).collect()
}

pub async fn headers(cx: &Check) -> Outcome {
    let hub = patient_hub(cx);
    let fleet = traffic::fleet("oslo", LARGE);
    let len = cx.draw("header bytes", &[17, 40, 64]);
    introduce(&hub, "oslo", &fleet).await?;
    let before = alloc::settled().await;
    for (n, device) in fleet.iter().enumerate() {
        ingest(&hub, large_batch(device, &header(n, len), MIB)).await?;
    }
    cx.measure("kept_after_large_batches_bytes", kept_since(before).await as f64);
    because(cx, "kept_after_large_batches_bytes", OF_A_BATCH);
    for (n, device) in fleet.iter().enumerate() {
        same_header(&hub, device, &header(n, len))?;
    }
    ingest(&hub, large_batch(&fleet[0], b"newer", 100)).await?;
    ingest(&hub, small_batch("oslo", &fleet, 1)).await?;
    drop(hub.connect(fleet[0].clone()).await);
    same_header(&hub, &fleet[0], b"newer")?;
    same_header(&hub, &fleet[1], &header(1, len))?;
    let unknown = hub.last_header(&"oslo/nobody".into());
    ensure!(
        unknown.is_none(),
        "A device that sent nothing has no header.",
        "an unknown device has the header {unknown:?}"
    );
    Ok(())
}

fn same_header(hub: &Hub, device: &DeviceId, expected: &[u8]) -> Outcome {
    let kept = hub.last_header(device);
    ensure!(
        kept.as_deref() == Some(expected),
        "A device's header is that of its last record that had one, all of it and nothing else.",
        "{device} sent the header {expected:?}, the hub has {kept:?}"
    );
    Ok(())
}

/// A batch that knows whether it is still held.
struct Tracked {
    bytes: Bytes,
    held: Arc<AtomicUsize>,
}

impl Tracked {
    fn batch(bytes: Bytes, held: &Arc<AtomicUsize>) -> Bytes {
        held.fetch_add(1, Relaxed);
        Bytes::from_owner(Tracked {
            bytes,
            held: Arc::clone(held),
        })
    }
}

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Relaxed);
    }
}

/// The bodies of batches, of which a header of 48 bytes is kept.
const BODIES_KIB: [usize; 6] = [16, 100, 400, 640, 900, 1024];

pub async fn given_back(cx: &Check) -> Outcome {
    const BATCHES: usize = 18;
    let hub = patient_hub(cx);
    let odd_bytes = cx.draw("bytes beside the KiB", &[0, 17, 251]);
    let body_bytes = |n: usize| BODIES_KIB[n % BODIES_KIB.len()] * 1024 - odd_bytes;
    let fleet = traffic::fleet("oslo", BATCHES);
    introduce(&hub, "oslo", &fleet).await?;
    let held: Vec<_> = (0..BATCHES).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let before = alloc::settled().await;
    for (n, device) in fleet.iter().enumerate() {
        let batch = large_batch(device, &header(n, 48), body_bytes(n));
        ingest(&hub, Tracked::batch(batch, &held[n])).await?;
    }
    let still_held = || {
        (0..BATCHES)
            .filter(|&n| held[n].load(Relaxed) > 0)
            .collect::<Vec<_>>()
    };
    comes_about(|| still_held().is_empty()).await;
    let left = still_held();
    let largest = left.iter().map(|&n| body_bytes(n)).max().unwrap_or(0);
    let smallest = left.iter().map(|&n| body_bytes(n)).min().unwrap_or(0);
    ensure!(
        left.is_empty(),
        "A slice of a batch, or a clone of it, shares the batch's memory and keeps all of it; copy the bytes you keep.",
        "{} of {BATCHES} batches are still held after their ingest, of {} to {}; a header of 48 bytes is kept of each",
        left.len(),
        kib(smallest as i64),
        kib(largest as i64)
    );
    let kept = kept_since(before).await;
    let sent: usize = (0..BATCHES).map(body_bytes).sum();
    ensure!(
        kept < (sent / 4) as i64,
        "Truncating a copy of the batch keeps the copy's capacity, which is the batch's; copy only the bytes you keep.",
        "the {BATCHES} batches, {} in all, are given back, but {} are kept for their headers of 48 bytes",
        kib(sent as i64),
        kib(kept)
    );
    let bad_held = Arc::new(AtomicUsize::new(0));
    for (fate, batch) in bad_batches(&fleet[0], MIB) {
        // Whatever is reported; what counts here is that the batch is let go.
        let ingesting = hub.ingest(Tracked::batch(batch, &bad_held));
        match fate {
            "whose caller has gone" => drop(tokio::time::timeout(Duration::ZERO, ingesting).await),
            _ => drop(soon("the report of a bad batch", ingesting).await?),
        }
        ensure!(
            comes_about(|| bad_held.load(Relaxed) == 0).await,
            "What is cleaned up at the end of a batch is not cleaned up when the batch ends early.",
            "a batch {fate} is still held"
        );
    }
    Ok(())
}

/// Batches that do not get to their end, and why.
fn bad_batches(device: &DeviceId, body_bytes: usize) -> [(&'static str, Bytes); 3] {
    let good = large_batch(device, b"fw=2", body_bytes);
    let mut cut_short = vec![0; body_bytes];
    cut_short.truncate(body_bytes / 3 * 3 - 1);
    let panics = FrameBuilder::new(device.site()).packed(name_of(device), b"fw=2", &cut_short);
    [
        ("that is no frame", good.slice(..good.len() - 1)),
        ("that the codec panics on", panics.build()),
        ("whose caller has gone", good),
    ]
}

const SITES: usize = 16;
const RECORDS: usize = 4000;

/// A batch of many records without headers, the alarms among them, and those alarms.
fn wide_batch(site: &str, alarms: &[usize]) -> (Bytes, Vec<DeviceId>) {
    let mut frame = FrameBuilder::new(site);
    for n in 0..RECORDS {
        let sample = if alarms.contains(&n) { 255 } else { 10 };
        frame = frame.plain(&traffic::name(n % 50), b"", &[3, sample, 4]);
    }
    let devices = alarms.iter().map(|n| DeviceId::new(site, &traffic::name(n % 50)));
    (frame.build(), devices.collect())
}

pub async fn alarms(cx: &Check) -> Outcome {
    let hub = patient_hub(cx);
    let sites: Vec<String> = (0..SITES).map(|n| format!("site-{n}")).collect();
    for site in &sites {
        introduce(&hub, site, &traffic::fleet(site, 50)).await?;
    }
    let before = alloc::settled().await;
    for site in &sites {
        let (batch, expected) = wide_batch(site, &[7, 1903, 3999]);
        let report = ingest(&hub, batch).await?;
        open_alarms(&hub, site, &expected)?;
        let counted = (report.records, report.alarms, report.panicked);
        ensure!(
            counted == (RECORDS, 3, 0),
            "The report counts the records that were read and the alarms among them.",
            "a batch of {RECORDS} records with 3 alarms was reported as {report:?}"
        );
    }
    cx.measure("kept_for_open_alarms_bytes", kept_since(before).await as f64);
    because(cx, "kept_for_open_alarms_bytes", IN_PLACE);
    for site in &sites {
        open_alarms(&hub, site, &wide_batch(site, &[7, 1903, 3999]).1)?;
    }
    ingest(&hub, small_batch(&sites[0], &traffic::fleet(&sites[0], 50), 1)).await?;
    open_alarms(&hub, &sites[0], &[])?;

    cx.stage("packed bodies");
    let fleet = traffic::fleet("oslo", LARGE);
    introduce(&hub, "oslo", &fleet).await?;
    let before = alloc::settled().await;
    for device in &fleet {
        let packed = packed_batch(device);
        ingest(&hub, packed).await?;
        open_alarms(&hub, "oslo", std::slice::from_ref(device))?;
        let plain = FrameBuilder::new("oslo")
            .plain(name_of(device), b"", &[1, 255])
            .build();
        let levels = levels(&hub.alarms("oslo"));
        ingest(&hub, plain).await?;
        ensure!(
            levels == self::levels(&hub.alarms("oslo")),
            "A packed body stands for the same samples as a plain one.",
            "the peak of a packed body was read as {levels:?}, of a plain one as {:?}",
            self::levels(&hub.alarms("oslo"))
        );
    }
    cx.measure("kept_after_packed_bodies_bytes", kept_since(before).await as f64);
    because(cx, "kept_after_packed_bodies_bytes", CLEARED);
    Ok(())
}

/// Unpacks to one mebibyte.
fn packed_batch(device: &DeviceId) -> Bytes {
    let mut body = packed_body(15, 1);
    body.extend(packed_body(1, 255));
    FrameBuilder::new(device.site())
        .packed(name_of(device), b"", &body)
        .build()
}

fn levels(open: &[Reading]) -> Vec<u32> {
    open.iter().map(|reading| reading.level).collect()
}

fn open_alarms(hub: &Hub, site: &str, expected: &[DeviceId]) -> Outcome {
    let open = hub.alarms(site);
    let same = open.len() == expected.len()
        && open
            .iter()
            .zip(expected)
            .all(|(reading, device)| reading.device == *device && reading.level >= ALARM_LEVEL);
    ensure!(
        same,
        "A site's open alarms are those of its last batch, in the batch's order.",
        "alarms of {site} should come from {expected:?}, the hub has {open:?}"
    );
    Ok(())
}

pub async fn no_room_left(cx: &Check) -> Outcome {
    let hub = patient_hub(cx);
    let fleet = traffic::fleet("oslo", LARGE);
    introduce(&hub, "oslo", &fleet).await?;
    let before = alloc::settled().await;
    for device in &fleet {
        ingest(&hub, packed_batch(device)).await?;
        // What is read next is small again.
        ingest(&hub, small_batch("oslo", std::slice::from_ref(device), 1)).await?;
    }
    let kept = kept_since(before).await;
    ensure!(
        kept < (LARGE * MIB / 4) as i64,
        CLEARED,
        "{} are kept after each of {LARGE} devices sent one body of 1 MiB and a small one after it",
        kib(kept)
    );
    let sites: Vec<String> = (0..SITES).map(|n| format!("site-{n}")).collect();
    for site in &sites {
        introduce(&hub, site, &traffic::fleet(site, 50)).await?;
    }
    let before = alloc::settled().await;
    for site in &sites {
        ingest(&hub, wide_batch(site, &[5]).0).await?;
    }
    let kept = kept_since(before).await;
    ensure!(
        kept < (SITES * RECORDS * 4) as i64,
        IN_PLACE,
        "{} are kept for one open alarm at each of {SITES} sites, whose batches had {RECORDS} records",
        kib(kept)
    );
    Ok(())
}
