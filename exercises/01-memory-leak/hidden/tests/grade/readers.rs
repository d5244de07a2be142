//! Sessions that stay: what they hear, in what order, and what they cost when they do not read.

use std::time::Duration;

use harness::{Check, OrObserved, Outcome, alloc, ensure, within};
use memory_leak_hidden::subject::{DeviceId, Event, Hub, HubConfig};
use memory_leak_hidden::traffic::{self, message, number};

use crate::observe::{HOUR, because, held_since, kib, patient_hub, reached, soon, unread};

pub async fn quiet(cx: &Check) -> Outcome {
    let minutes = cx.draw("idle ttl, min", &[2, 5, 10]);
    let idle_ttl = Duration::from_secs(60 * minutes);
    let hub = Hub::new(HubConfig {
        idle_ttl,
        outbox: 64,
        sweep: Duration::from_secs(5),
    });
    let (silent, beating) = (DeviceId::from("oslo/door-0"), DeviceId::from("oslo/door-1"));
    let mut silent = hub.connect(silent).await;
    let mut session = hub.connect(beating.clone()).await;
    for _ in 0..50 {
        tokio::time::sleep(idle_ttl / 2).await;
        hub.touch(&beating);
    }
    let reached = hub.publish("oslo", message(7)).await;
    let heard = [unread(&mut silent).await, unread(&mut session).await];
    let expected = [vec![Event::Expired, message(7)], vec![message(7)]];
    ensure!(
        reached == 2 && heard == expected,
        "A timeout on waiting for events cannot tell a session that has gone from one that nothing was published to.",
        "two sessions to which nothing was published for {} minutes heard {heard:?} (reached: {reached})",
        25 * minutes
    );
    Ok(())
}

const LIVE: usize = 1500;
const EVENTS: u64 = 20;

pub async fn all_hear_everything(cx: &Check) -> Outcome {
    measure_session(cx).await?;
    let hub = patient_hub(cx);
    let mut readers = Vec::with_capacity(LIVE);
    for device in traffic::fleet("oslo", LIVE) {
        let mut session = hub.connect(device).await;
        readers.push(tokio::spawn(async move {
            let mut heard = Vec::new();
            while heard.len() < EVENTS as usize {
                match session.next().await {
                    Some(event) => heard.push(number(&event)),
                    None => break,
                }
            }
            (session, heard)
        }));
    }
    let mut elsewhere = hub.connect("bergen/door-0".into()).await;
    for event in 0..EVENTS {
        let reached = within(
            Duration::from_secs(20),
            "publishing",
            hub.publish("oslo", message(event)),
        )
        .await?;
        ensure!(
            reached == LIVE,
            "Memory was bounded by disconnecting healthy devices.",
            "{LIVE} sessions are connected, publish reached {reached}"
        );
    }
    hub.publish("bergen", message(99)).await;
    let expected: Vec<_> = (0..EVENTS).map(Some).collect();
    for reader in readers {
        let joined = within(Duration::from_secs(20), "hearing all that was published", reader).await?;
        let (_session, heard) = joined.or_observed("reading panicked")?;
        ensure!(
            heard == expected,
            "A live session hears every event of its site, in the order of publishing.",
            "a session heard {heard:?} instead of 0 to {}",
            EVENTS - 1
        );
    }
    let heard = within(Duration::from_secs(20), "hearing an event", elsewhere.next()).await?;
    ensure!(
        heard == Some(message(99)),
        "An event reaches its own site only.",
        "a session at another site heard {heard:?} first"
    );
    Ok(())
}

/// What a session costs that has read as much as its outbox holds.
async fn measure_session(cx: &Check) -> Outcome {
    const SESSIONS: usize = 500;
    const OUTBOX: usize = 64;
    let hub = Hub::new(HubConfig {
        idle_ttl: 1000 * HOUR,
        outbox: OUTBOX,
        sweep: HOUR,
    });
    let fleet = traffic::fleet("oslo", SESSIONS);
    for device in &fleet {
        drop(hub.connect(device.clone()).await);
    }
    reached(&hub, "oslo", 0).await;
    let mut sessions = Vec::with_capacity(SESSIONS);
    let before = alloc::settled().await;
    for device in &fleet {
        sessions.push(hub.connect(device.clone()).await);
    }
    for number in 0..OUTBOX as u64 {
        hub.publish("oslo", message(number)).await;
    }
    for session in &mut sessions {
        for _ in 0..OUTBOX {
            within(
                Duration::from_secs(20),
                "hearing all that was published",
                session.next(),
            )
            .await?;
        }
    }
    cx.measure(
        "kept_per_session_bytes",
        held_since(before).await as f64 / SESSIONS as f64,
    );
    because(
        cx,
        "kept_per_session_bytes",
        "A session needs its outbox once: room beyond that, or a second queue behind it, is paid for by every device.",
    );
    Ok(())
}

pub async fn slow_reader(cx: &Check) -> Outcome {
    const EVENTS: u64 = 100_000;
    let outbox = cx.draw("outbox", &[32, 64, 128]);
    let hub = Hub::new(HubConfig {
        idle_ttl: 1000 * HOUR,
        outbox,
        sweep: HOUR,
    });
    let mut fast = hub.connect("oslo/door-0".into()).await;
    let mut slow = hub.connect("oslo/door-1".into()).await;
    let before = alloc::settled().await;
    let chunk = outbox as u64 / 2;
    let mut published = 0;
    while published < EVENTS {
        for number in published..published + chunk {
            let publish = soon(
                "publishing beside a reader that has stopped",
                hub.publish("oslo", message(number)),
            );
            publish.await.map_err(|failure| {
                failure.because(
                    "Waiting for room in a full outbox lets the slowest reader stop every publisher.",
                )
            })?;
        }
        for expected in published..published + chunk {
            let heard = soon("the fast reader hearing an event", fast.next()).await?;
            ensure!(
                heard == Some(message(expected)),
                "A reader that keeps up must not pay for one that does not.",
                "the fast reader heard {heard:?} instead of message {expected}"
            );
        }
        published += chunk;
    }
    let held = held_since(before).await;
    ensure!(
        held < 512 * 1024,
        "The leak moved into the slow consumer's queue: a queue without a bound takes whatever is not read.",
        "{} more are held after {published} events that one of two readers did not read",
        kib(held)
    );
    let mut accounted = 0;
    loop {
        match tokio::time::timeout(Duration::from_millis(1), slow.next()).await {
            // Disconnected: documented, and the reader knows.
            Ok(None) => return Ok(()),
            Ok(Some(Event::Lagged(missing))) => accounted += missing,
            Ok(Some(event)) => {
                let number = number(&event).or_observed(format!("the slow reader heard {event:?}"))?;
                ensure!(
                    number >= accounted,
                    "Events are delivered in the order of publishing.",
                    "the slow reader heard message {number}, having been told of {accounted} events before"
                );
                ensure!(
                    number == accounted,
                    "Lagged(n) stands in place of the events that are missing: a reader that is told later takes what comes after \
                     the gap for what came next.",
                    "the slow reader heard message {number}, having been told of {accounted} events before"
                );
                accounted += 1;
            }
            Err(_) => break,
        }
    }
    ensure!(
        accounted == published,
        "Dropping events for a slow reader is right only if it learns of it: Lagged(n), or the end of its session.",
        "{published} events were published, the slow reader was told of {accounted}"
    );
    Ok(())
}
