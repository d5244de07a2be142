//! Sessions: who is reached, in what order, and what a session that has gone leaves behind.

use std::sync::Arc;
use std::time::Duration;

use harness::{Check, Failure, OrObserved, Outcome, alloc, ensure, tasks, within};
use memory_leak_hidden::subject::{DeviceId, Event, Hub, HubConfig, Session};
use memory_leak_hidden::traffic::{self, message, number};

use crate::observe::{HOUR, held_since, kib, patient_hub, reached, rest, unread};

const RUNTIME_ONLY: &str = "Sessions dropped inside the runtime are cleaned up, those dropped elsewhere are not: Drop \
                            may run where no runtime exists, so cleanup must not depend on one.";

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Dropped,
    WhileReading,
    OnAnotherThread,
}

pub async fn only_connected_ones_are_reached(cx: &Check) -> Outcome {
    let hub = patient_hub(cx);
    let mut survivor = hub.connect("oslo/gate-1".into()).await;
    let mut kept_inside = 0;
    for (end, cycles) in [
        (End::Dropped, 1000),
        (End::WhileReading, 500),
        (End::OnAnotherThread, 500),
    ] {
        cx.stage(format!("{cycles} sessions: {end:?}"));
        let before = alloc::settled().await;
        for device in traffic::fleet("oslo", 50).iter().cycle().take(cycles) {
            end_session(hub.connect(device.clone()).await, end).await?;
        }
        rest().await;
        let ghosts = reached(&hub, "oslo", 0).await.saturating_sub(1);
        ensure!(
            ghosts == 0,
            why_ghosts(&hub, end).await,
            "publish claims to reach {ghosts} more sessions than are connected, after {cycles} were dropped ({end:?})"
        );
        // What each session leaves behind is a budget's business; here only whether it depends on where it ended.
        let kept = held_since(before).await / cycles as i64;
        if end == End::Dropped {
            kept_inside = kept;
        }
        ensure!(
            kept - kept_inside < 256,
            RUNTIME_ONLY,
            "a session leaves {kept_inside} bytes behind when it is dropped inside the runtime, {kept} bytes when it is \
             dropped {end:?}"
        );
    }
    let heard: Vec<_> = unread(&mut survivor).await.iter().filter_map(number).collect();
    ensure!(
        heard == [0, 1, 0, 1, 0, 1],
        OTHERS,
        "the session that stayed connected heard {heard:?} instead of two messages after each wave"
    );
    let sessions = hub.snapshot().sessions;
    ensure!(
        sessions == 1,
        "The gauge counts sessions that have gone.",
        "one session is connected, snapshot() says {sessions}"
    );
    Ok(())
}

async fn end_session(mut session: Session, end: End) -> Outcome {
    match end {
        End::Dropped => drop(session),
        End::WhileReading => {
            tokio::select! {
                biased;
                _ = session.next() => {}
                () = std::future::ready(()) => {}
            }
        }
        End::OnAnotherThread => {
            let dropped = std::thread::spawn(move || drop(session)).join();
            dropped.map_err(|_| {
                Failure::new("dropping a session on a plain thread panicked").because(
                    "Drop may run where no runtime exists; spawning there panics and skips the cleanup.",
                )
            })?;
        }
    }
    Ok(())
}

/// What kind of cleanup this is shows in what more time, or another publish, changes.
async fn why_ghosts(hub: &Hub, end: End) -> &'static str {
    if end == End::OnAnotherThread {
        return RUNTIME_ONLY;
    }
    tokio::time::sleep(24 * HOUR).await;
    match reached(hub, "oslo", 1 << 32).await {
        0..=1 => {
            "The leak became rate x timeout: a dropped session still owns its place, and a task, until the timeout."
        }
        _ => {
            "Whoever owns the sender decides how long the receiving side lives: the registry still owns one for each \
              dropped session, so what waits on it never ends."
        }
    }
}

pub async fn dropped_without_a_runtime(_cx: &Check) -> Outcome {
    let dropped = std::thread::spawn(|| -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (hub, session) = runtime.block_on(async {
            let hub = Hub::new(HubConfig {
                idle_ttl: HOUR,
                outbox: 8,
                sweep: HOUR,
            });
            let session = hub.connect("oslo/door-0".into()).await;
            drop(hub.connect("oslo/door-1".into()).await);
            (hub, session)
        });
        drop(runtime);
        drop(session);
        drop(hub);
        Ok(())
    })
    .join();
    match dropped {
        Ok(built) => built.or_observed("failed to build a runtime"),
        Err(_) => Err(
            Failure::new("dropping a session after its runtime had ended panicked").because(
                "Drop may run where no runtime exists; spawning there panics and skips the cleanup.",
            ),
        ),
    }
}

const OTHERS: &str =
    "A session is its own connection, not its device: cleaning up after one took the events of another.";

/// Sites enough that what earlier sessions left behind does not slow the later ones' publishes.
const SITES: usize = 50;
const CYCLES: usize = 500;

pub async fn reconnects(cx: &Check) -> Outcome {
    let (idle_ttl, sweep) = (cx.draw("idle ttl, s", &[1, 2, 4]), Duration::from_millis(250));
    let idle_ttl = Duration::from_secs(idle_ttl);
    let hub = Hub::new(HubConfig {
        idle_ttl,
        outbox: 32,
        sweep,
    });
    let fleet: Vec<DeviceId> = (0..SITES)
        .map(|n| DeviceId::new(&format!("site-{n}"), "door"))
        .collect();
    let mut alive_before = 0;
    let mut readings = Vec::new();
    for window in 0..5 {
        cx.stage(format!("window {window}: {CYCLES} reconnects"));
        let mut connected: Vec<Option<Session>> = fleet.iter().map(|_| None).collect();
        for cycle in 0..CYCLES {
            let (device, connected) = (&fleet[cycle % SITES], &mut connected[cycle % SITES]);
            let expected = (window * CYCLES + cycle) as u64;
            // Every other time the device comes back before its old connection is known to be dead.
            let previous = connected.take().filter(|_| (cycle / SITES).is_multiple_of(2));
            let heard = traffic::connect_and_hear(&hub, device, previous, expected);
            let heard = within(HOUR, "hearing an event after a reconnect", heard).await;
            let (mut session, heard) = heard.map_err(|failure| failure.because(OTHERS))?;
            let more = unread(&mut session).await;
            ensure!(
                heard == Some(message(expected)) && more.is_empty(),
                OTHERS,
                "after a reconnect session {expected} heard {heard:?} and then {more:?}"
            );
            *connected = Some(session);
        }
        drop(connected);
        // Idle timers of sessions that have gone may run out; that they do is another check's business.
        tokio::time::sleep(idle_ttl + sweep * 2).await;
        for device in &fleet {
            reached(&hub, device.site(), 0).await;
        }
        readings.push(alloc::settled().await.live_bytes as f64);
        if window == 0 {
            alive_before = tasks::alive();
        }
    }
    cx.measure(
        "tasks_kept_by_reconnects",
        tasks::alive().saturating_sub(alive_before) as f64,
    );
    let slope = alloc::slope(CYCLES as u64, &readings)?;
    cx.measure("kept_per_reconnect_bytes", slope.per_unit.max(0.0));
    Ok(())
}

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
    Ok(())
}

pub async fn come_and_go(cx: &Check) -> Outcome {
    const TASKS: usize = 6;
    let hub = Arc::new(patient_hub(cx));
    let mut stays = hub.connect("oslo/door-0".into()).await;
    let commuters: Vec<_> = (0..TASKS)
        .map(|n| {
            let hub = Arc::clone(&hub);
            tokio::spawn(async move {
                let (own, common) = (
                    DeviceId::new(&format!("site-{n}"), "door"),
                    DeviceId::from("oslo/door-0"),
                );
                for cycle in 0..200 {
                    let shared = hub.connect(common.clone()).await;
                    let (session, heard) = traffic::connect_and_hear(&hub, &own, None, cycle).await;
                    hub.touch(&common);
                    drop((shared, session));
                    if heard != Some(message(cycle)) {
                        return Err(format!("session {cycle} heard {heard:?}"));
                    }
                }
                Ok(())
            })
        })
        .collect();
    let deadline = Duration::from_secs(20);
    for event in 0..200 {
        within(
            deadline,
            "publishing while sessions come and go",
            hub.publish("oslo", message(event)),
        )
        .await?;
        let heard = within(
            deadline,
            "hearing an event while others come and go",
            stays.next(),
        )
        .await
        .map_err(|failure| failure.because(OTHERS))?;
        ensure!(
            heard == Some(message(event)),
            OTHERS,
            "the session that stayed heard {heard:?} instead of message {event}"
        );
    }
    for commuter in commuters {
        let done = within(deadline, "200 reconnects beside others", commuter).await?;
        done.or_observed("a task that connects and disconnects panicked")?
            .or_observed("while others came and went")?;
    }
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
            let publish = within(
                HOUR,
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
            let heard = within(HOUR, "the fast reader hearing an event", fast.next()).await?;
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
    let mut next = 0;
    loop {
        match tokio::time::timeout(Duration::from_millis(1), slow.next()).await {
            // Disconnected: documented, and the reader knows.
            Ok(None) => return Ok(()),
            Ok(Some(Event::Lagged(missing))) => accounted += missing,
            Ok(Some(event)) => {
                let number = number(&event).or_observed(format!("the slow reader heard {event:?}"))?;
                ensure!(
                    number >= next,
                    "Events are delivered in the order of publishing.",
                    "the slow reader heard message {number} after {next}"
                );
                next = number + 1;
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
