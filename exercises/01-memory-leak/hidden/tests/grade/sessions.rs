//! Sessions that end: who is reached afterwards, what they leave behind, and what the others notice of it.

use std::sync::Arc;
use std::time::Duration;

use harness::{Check, Failure, OrObserved, Outcome, alloc, ensure, preempt, tasks, within};
use memory_leak_hidden::subject::{DeviceId, Hub, HubConfig, Session};
use memory_leak_hidden::traffic::{self, message, number};
use tokio::runtime::Handle;

use crate::observe::{HOUR, because, held_since, kib, patient_hub, reached, rest, soon, unread};

const OWNER: &str = "Whoever owns the sender decides how long the receiving side lives: the registry still owns one for \
                     each dropped session, so what waits on it never ends.";
const RUNTIME_ONLY: &str = "Sessions dropped inside the runtime are cleaned up, those dropped elsewhere are not: Drop \
                            may run where no runtime exists, so cleanup must not depend on one.";

const SKIPPED: &str = "Cleanup that gives up when the lock is taken leaks just when there is load: Drop has no second \
                       chance, so it waits for the lock, which is held for a moment, or leaves word with whoever cleans up.";

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Dropped,
    WhileReading,
    OnAnotherThread,
    AllAtOnce,
    WhileOthersUseTheHub,
}

pub async fn only_connected_ones_are_reached(cx: &Check) -> Outcome {
    let hub = patient_hub(cx);
    let mut survivor = hub.connect("oslo/gate-1".into()).await;
    let mut kept_undisturbed = 0;
    for (end, cycles) in [
        (End::Dropped, 1000),
        (End::WhileReading, 500),
        (End::OnAnotherThread, 500),
        (End::AllAtOnce, 120),
        (End::WhileOthersUseTheHub, 120),
    ] {
        cx.stage(format!("{cycles} sessions: {end:?}"));
        let before = alloc::settled().await;
        let devices = traffic::fleet("oslo", 50);
        let devices = devices.iter().cycle().take(cycles);
        if matches!(end, End::AllAtOnce | End::WhileOthersUseTheHub) {
            let mut sessions = Vec::with_capacity(cycles);
            for device in devices {
                sessions.push((device, hub.connect(device.clone()).await));
            }
            if end == End::WhileOthersUseTheHub {
                drop_while_in_use(&hub, sessions);
            }
        } else {
            for device in devices {
                end_session(hub.connect(device.clone()).await, end).await?;
            }
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
        let (beyond, because) = match end {
            End::Dropped | End::AllAtOnce => {
                kept_undisturbed = kept;
                continue;
            }
            End::WhileReading | End::OnAnotherThread => (64, RUNTIME_ONLY),
            End::WhileOthersUseTheHub => (128, SKIPPED),
        };
        ensure!(
            kept - kept_undisturbed < beyond,
            because,
            "a session leaves {kept_undisturbed} bytes behind when it is dropped inside the runtime, {kept} bytes when it is \
             dropped {end:?}"
        );
    }
    let heard: Vec<_> = unread(&mut survivor).await.iter().filter_map(number).collect();
    ensure!(
        heard == [0, 1].repeat(5),
        OTHERS,
        "the session that stayed connected heard {heard:?} instead of two messages after each wave"
    );
    let sessions = hub.snapshot().sessions;
    ensure!(
        sessions == 1,
        "The gauge counts sessions that have gone.",
        "one session is connected, snapshot() says {sessions}"
    );
    nobody_is_reached(&hub).await
}

/// Sites at which nobody is connected: publishing to them reaches nobody and leaves nothing.
async fn nobody_is_reached(hub: &Hub) -> Outcome {
    const EMPTY_SITES: usize = 4000;
    let before = alloc::settled().await;
    for site in 0..EMPTY_SITES {
        let reached = hub.publish(&format!("empty-{site}"), message(0)).await;
        ensure!(
            reached == 0,
            "An event reaches the sessions of its own site only.",
            "nobody is connected at a site, publish reached {reached}"
        );
    }
    let held = held_since(before).await;
    ensure!(
        held < 64 * 1024,
        "Whoever publishes decides what topics there are: an entry for each that was ever named is another leak.",
        "{} more are held after {EMPTY_SITES} publishes to sites at which nobody is connected",
        kib(held)
    );
    Ok(())
}

async fn end_session(mut session: Session, end: End) -> Outcome {
    match end {
        End::Dropped | End::AllAtOnce | End::WhileOthersUseTheHub => drop(session),
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

/// Drops each session while another thread stands still in the middle of asking the hub for something: whatever lock the
/// hub has is taken by somebody else at some of these moments.
fn drop_while_in_use(hub: &Hub, sessions: Vec<(&DeviceId, Session)>) {
    let (devices, sessions): (Vec<_>, Vec<_>) = sessions.into_iter().unzip();
    let (runtime, mut sessions) = (Handle::current(), sessions.into_iter());
    let ask = |round: usize| {
        let _inside = runtime.enter();
        // A gauge takes a while, and each lock of several for a part of it only.
        for _ in 0..20 {
            hub.last_header(devices[round]);
        }
        hub.snapshot();
    };
    preempt::while_preempted(devices.len(), ask, |_| drop(sessions.next()));
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
        _ => OWNER,
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
    let (idle_ttl, sweep) = (cx.draw("idle ttl, s", &[10, 20, 30]), Duration::from_secs(1));
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
            let heard = soon("hearing an event after a reconnect", heard).await;
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
    because(cx, "tasks_kept_by_reconnects", OWNER);
    let slope = alloc::slope(CYCLES as u64, &readings)?;
    cx.measure("kept_per_reconnect_bytes", slope.per_unit.max(0.0));
    because(cx, "kept_per_reconnect_bytes", OWNER);
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
    let heard_by_who_stays = async |stays: &mut Session, event| {
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
        Ok(())
    };
    for event in 0..200 {
        heard_by_who_stays(&mut stays, event).await?;
    }
    for commuter in commuters {
        let done = within(deadline, "200 reconnects beside others", commuter).await?;
        done.or_observed("a task that connects and disconnects panicked")?
            .or_observed("while others came and went")?;
    }
    // On a machine where all of the above came first, they have come and gone now.
    heard_by_who_stays(&mut stays, 200).await
}
