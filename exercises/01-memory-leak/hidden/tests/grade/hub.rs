//! The hub as a whole: its calibrations, its end.

use std::time::Duration;

use harness::{Check, OrObserved, Outcome, alloc, ensure, tasks};
use memory_leak_hidden::subject::{DeviceId, Event, Hub, HubConfig};
use memory_leak_hidden::traffic::{self, message, small_batch};

use crate::observe::{HOUR, by, comes_about, held_since, kib, patient_hub, soon, unread};

pub async fn calibrated_once(cx: &Check) -> Outcome {
    let devices = cx.draw("devices", &[1000, 1400, 1800]);
    let hub = patient_hub(cx);
    let fleet = traffic::fleet("oslo", devices);
    let batch = small_batch("oslo", &fleet, 1);
    hub.ingest(batch.clone())
        .await
        .or_observed("a batch was refused")?;
    let curves: Vec<_> = fleet.iter().map(|device| hub.calibration(device)).collect();
    let before = hub.snapshot().calibrations;
    ensure!(
        before >= devices as u64,
        "Every device has a curve of its own, and the snapshot counts each time that one is worked out.",
        "{devices} devices were calibrated, snapshot() counts {before}"
    );
    for (device, curve) in fleet.iter().zip(&curves) {
        ensure!(
            hub.calibration(device) == *curve,
            "A device's curve does not change.",
            "{device} got another curve at the second look"
        );
    }
    hub.ingest(batch).await.or_observed("a batch was refused")?;
    let again = hub.snapshot().calibrations - before;
    ensure!(
        again == 0,
        "A cache with a bound is no leak: the calibrations were big in the heap profile, level over time, and worth \
         their memory.",
        "{again} calibrations were worked out again for {devices} known devices, each looked up twice"
    );
    bounded(&hub).await
}

/// The cache is as large as the contract says, however many devices there have been.
async fn bounded(hub: &Hub) -> Outcome {
    const STRANGERS: usize = 14_000;
    let before = alloc::settled().await;
    for n in 0..STRANGERS {
        hub.calibration(&DeviceId::new("transit", &traffic::name(n)));
        if n % 256 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let held = held_since(before).await;
    ensure!(
        held < 8 * 1024 * 1024,
        "The calibrations were level because their cache has a bound; without it they are a leak like the others.",
        "{} more are held after {STRANGERS} more devices were calibrated, of which 4096 may be kept",
        kib(held)
    );
    Ok(())
}

pub async fn shutdown(cx: &Check) -> Outcome {
    const EVENTS: u64 = 8;
    let alive = tasks::alive();
    let hub = Hub::new(HubConfig {
        idle_ttl: 1000 * HOUR,
        outbox: cx.draw("outbox", &[8, 16, 32]),
        sweep: Duration::from_secs(1),
    });
    let mut sessions = Vec::new();
    for device in traffic::fleet("oslo", 50) {
        sessions.push(hub.connect(device.clone()).await);
        hub.touch(&device);
    }
    drop(sessions.pop());
    for _ in 0..20 {
        let batch = small_batch("oslo", &traffic::fleet("oslo", 2), 1);
        hub.ingest(batch).await.or_observed("a batch was refused")?;
    }
    let panicked = hub.ingest(traffic::batch_that_panics("oslo")).await;
    panicked.or_observed("a batch was refused")?;
    for event in 0..EVENTS {
        hub.publish("oslo", message(event)).await;
    }
    by(Duration::from_secs(2), "shutdown()", hub.shutdown())
        .await
        .map_err(|failure| failure.because("Shutdown waits for something that nobody has told to end."))?;
    comes_about(|| tasks::alive() <= alive).await;
    let left = tasks::alive().saturating_sub(alive);
    ensure!(
        left == 0,
        "A hub that has shut down has ended the tasks that it started; dropping a handle only detaches.",
        "{left} tasks of the hub are still alive after shutdown()"
    );
    let expected: Vec<Event> = (0..EVENTS).map(message).collect();
    for session in &mut sessions {
        let heard = unread(session).await;
        ensure!(
            heard == expected,
            "Aborting what delivers events loses those that it had not delivered yet; close it and let it drain.",
            "{EVENTS} events were published before shutdown(), a session heard {} of them",
            heard.len()
        );
        let end = soon("the end of a session after shutdown()", session.next());
        let end = end.await.map_err(|failure| {
            failure
                .because("A session ends when the last sender of its channel is dropped; one is still held.")
        })?;
        ensure!(
            end.is_none(),
            "After shutdown() a session reads what was published before, then None.",
            "a session was told {end:?} after everything that had been published"
        );
    }
    Ok(())
}
