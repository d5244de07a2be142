//! Idle devices: told once, on time, and at the cost of one deadline each.

use std::time::Duration;

use harness::{Check, Failure, OrObserved, Outcome, alloc, ensure, tasks, within};
use memory_leak_hidden::subject::{DeviceId, Event, Hub, HubConfig, Session};
use memory_leak_hidden::traffic;
use tokio::time::{Instant, sleep, timeout_at};

use crate::observe::{HOUR, because, comes_about, held_since, kib, rest, unread};

const DEVICES: usize = 10;
const OUTBOX: usize = 16;
/// Timers of tokio's are exact to a millisecond.
const RESOLUTION: Duration = Duration::from_millis(2);

struct Idle {
    hub: Hub,
    idle_ttl: Duration,
    sweep: Duration,
}

impl Idle {
    fn new(cx: &Check) -> Idle {
        Idle::sweeping(cx, &[500, 1000, 5000])
    }

    fn sweeping(cx: &Check, sweeps_ms: &[u64]) -> Idle {
        let idle_ttl = Duration::from_secs(cx.draw("idle ttl, s", &[30, 45, 60]));
        let sweep = Duration::from_millis(cx.draw("sweep, ms", sweeps_ms));
        let hub = Hub::new(HubConfig {
            idle_ttl,
            outbox: OUTBOX,
            sweep,
        });
        Idle { hub, idle_ttl, sweep }
    }

    /// Lets what the hub does once per sweep have its turn. Shorter than the shortest idle time.
    async fn housekeeping(&self) {
        sleep(2 * self.sweep).await;
    }

    /// Waits for the expiry of a device whose last sign of life was at `alive`, and looks at the clock.
    async fn expires(&self, session: &mut Session, alive: Instant) -> Outcome {
        let event = within(HOUR, "the expiry of an idle device", session.next()).await;
        let event = event.map_err(|failure| failure.because(NEVER))?;
        self.on_time(event.as_ref(), alive.elapsed())
    }

    fn on_time(&self, event: Option<&Event>, after: Duration) -> Outcome {
        let (idle_ttl, sweep) = (self.idle_ttl, self.sweep);
        ensure!(
            event == Some(&Event::Expired),
            "A device that is not heard of for the idle time is told that it expired.",
            "an idle device was told {event:?}"
        );
        ensure!(
            after + RESOLUTION >= idle_ttl,
            "A deadline that an earlier sign of life had set was not moved by the later one.",
            "expired {after:?} after the last sign of life, idle ttl {idle_ttl:?}"
        );
        ensure!(
            after <= idle_ttl + sweep + RESOLUTION,
            "An expiry may be late by one sweep, not by more.",
            "expired {after:?} after the last sign of life, idle ttl {idle_ttl:?}, sweep {sweep:?}"
        );
        Ok(())
    }
}

const ONE_DEADLINE: &str = "Each touch leaves something behind that waits through the idle time, a task or a timer; a \
                            device needs one deadline that moves.";
const NEVER: &str = "After the last sign of life a deadline must be left that fires: a timer that finds newer signs of \
                     life when it fires has to be set again.";

pub async fn told_once_and_on_time(cx: &Check) -> Outcome {
    // Often enough to be seen by devices that fall silent a little after each other.
    let idle = Idle::sweeping(cx, &[40, 70, 100]);
    let (fleet, sessions) = connect(&idle.hub).await;
    beat(&idle.hub, &fleet, 100).await;
    let before = alloc::settled().await;
    cx.stage("10 x 10 000 heartbeats");
    beat(&idle.hub, &fleet, 10_000).await;
    idle.housekeeping().await;
    cx.measure("kept_after_touches_bytes", held_since(before).await as f64);
    because(cx, "kept_after_touches_bytes", ONE_DEADLINE);
    cx.stage("silence");
    let until = Instant::now() + (idle.idle_ttl + idle.sweep) * 4;
    let mut told = Vec::new();
    for (device, session) in fleet.iter().zip(sessions) {
        sleep(Duration::from_millis(137)).await;
        idle.hub.touch(device);
        told.push((Instant::now(), tokio::spawn(listen(session, until))));
    }
    for (alive, told) in told {
        let told = told.await.or_observed("reading panicked")?;
        let Some((at, first)) = told.first() else {
            return Err(Failure::new("an idle device was told nothing").because(NEVER));
        };
        idle.on_time(Some(first), *at - alive)?;
        ensure!(
            told.len() == 1,
            "A device expires once per silence, not once per timer.",
            "an idle device was told {:?}",
            told.iter().map(|(_, event)| event).collect::<Vec<_>>()
        );
    }
    Ok(())
}

/// What a session is told, and when.
async fn listen(mut session: Session, until: Instant) -> Vec<(Instant, Event)> {
    let mut told = Vec::new();
    while let Ok(Some(event)) = timeout_at(until, session.next()).await {
        told.push((Instant::now(), event));
    }
    told
}

pub async fn postponed(cx: &Check) -> Outcome {
    let idle = Idle::new(cx);
    let device = DeviceId::from("oslo/door-0");

    cx.stage("heartbeats just in time");
    let mut session = idle.hub.connect(device.clone()).await;
    for _ in 0..5 {
        sleep(idle.idle_ttl - Duration::from_millis(1)).await;
        idle.hub.touch(&device);
    }
    idle.expires(&mut session, Instant::now()).await?;

    cx.stage("a heartbeat after the expiry");
    sleep(idle.idle_ttl).await;
    idle.hub.touch(&device);
    idle.expires(&mut session, Instant::now()).await?;

    cx.stage("a reconnect");
    idle.hub.touch(&device);
    sleep(idle.idle_ttl / 2).await;
    drop(session);
    sleep(idle.idle_ttl / 4).await;
    let mut session = idle.hub.connect(device.clone()).await;
    idle.expires(&mut session, Instant::now())
        .await
        .map_err(|failure| {
            failure.evidence("the device had disconnected and connected again; connecting is a sign of life")
        })?;

    cx.stage("two sessions of a device");
    let mut second = idle.hub.connect(device.clone()).await;
    let alive = Instant::now();
    let told = tokio::join!(
        idle.expires(&mut session, alive),
        idle.expires(&mut second, alive)
    );
    match told {
        (Ok(()), Ok(())) => {}
        (Err(failure), Err(_)) => return Err(failure),
        (Err(failure), Ok(())) | (Ok(()), Err(failure)) => {
            return Err(
                failure.because("Every session of a device is told that it expired, not only one of them.")
            );
        }
    }

    cx.stage("one of two sessions of a device leaves");
    idle.hub.touch(&device);
    let alive = Instant::now();
    sleep(idle.idle_ttl / 2).await;
    drop(second);
    idle.expires(&mut session, alive).await.map_err(|failure| {
        failure.evidence("another session of the same device had been dropped in the meantime")
    })?;
    busy_reader(cx, &idle).await
}

/// The device goes quiet and comes back, twice, while nobody asks the session for its next event.
async fn busy_reader(cx: &Check, idle: &Idle) -> Outcome {
    cx.stage("a reader that is busy while its device goes quiet and comes back");
    let device = DeviceId::from("oslo/door-1");
    let mut session = idle.hub.connect(device.clone()).await;
    for turn in 1..=2 {
        sleep(idle.idle_ttl + 2 * idle.sweep).await;
        // A hub with threads of its own gets the time for it.
        comes_about(|| idle.hub.snapshot().queued >= turn).await;
        idle.hub.touch(&device);
    }
    let told = unread(&mut session).await;
    overslept(cx, idle, &device, &mut session).await?;
    // Whether two silences that nobody has read of are told one by one is the hub's affair.
    ensure!(
        (1..=2).contains(&told.len()) && told.iter().all(|event| *event == Event::Expired),
        "Nobody looked at the clock while the reader was busy: a device that went quiet and came back was never reported.",
        "a device went quiet twice for {:?} and came back, idle ttl {:?}; its session, read afterwards, was told {told:?}",
        idle.idle_ttl + 2 * idle.sweep,
        idle.idle_ttl
    );
    Ok(())
}

/// Expiries are events, and an outbox has a bound.
async fn overslept(cx: &Check, idle: &Idle, device: &DeviceId, session: &mut Session) -> Outcome {
    const SILENCES: usize = 4 * OUTBOX;
    cx.stage("a reader that sleeps while its device goes quiet and comes back, many times");
    for _ in 0..SILENCES {
        idle.hub.touch(device);
        sleep(idle.idle_ttl + 2 * idle.sweep).await;
        rest().await;
    }
    let told = unread(session).await;
    // As many as fit, and one that says how many did not.
    ensure!(
        told.len() <= OUTBOX + 1,
        "An outbox has a bound for whatever is put into it: what the hub itself has to say counts as well.",
        "a session with an outbox of {OUTBOX} had {} unread events after its device had gone quiet {SILENCES} times",
        told.len()
    );
    Ok(())
}

pub async fn heartbeats_leave_nothing(cx: &Check) -> Outcome {
    const ROUNDS: usize = 2000;
    let idle = Idle::new(cx);
    let (fleet, mut sessions) = connect(&idle.hub).await;
    beat(&idle.hub, &fleet, 100).await;
    let (heap, alive) = (alloc::settled().await, tasks::alive());
    let beats = ROUNDS * DEVICES;
    beat(&idle.hub, &fleet, ROUNDS).await;
    idle.housekeeping().await;
    let held = held_since(heap).await;
    let more = tasks::alive().saturating_sub(alive);
    ensure!(
        more <= 2 * DEVICES,
        ONE_DEADLINE,
        "{more} more tasks are alive after {beats} heartbeats of {DEVICES} connected devices, and {} more are held",
        kib(held)
    );
    ensure!(
        held < 512 * 1024,
        "Each touch leaves an entry in a queue until the idle time is over; re-arm the device's entry instead of adding one.",
        "{} more are held after {beats} heartbeats of {DEVICES} connected devices, in {more} more tasks",
        kib(held)
    );
    cx.stage("heartbeats of devices that are not connected");
    strangers(&idle.hub).await?;
    cx.stage("devices that expire and come back");
    awake_again(&idle, &fleet[0], &mut sessions[0]).await
}

async fn strangers(hub: &Hub) -> Outcome {
    const STRANGERS: usize = 5000;
    let before = alloc::settled().await;
    for device in traffic::fleet("elsewhere", STRANGERS) {
        hub.touch(&device);
    }
    let held = held_since(before).await;
    ensure!(
        held < 64 * 1024,
        "Touching a device that is not connected does nothing: an entry for each that ever sent a heartbeat is another leak.",
        "{} more are held after one heartbeat each of {STRANGERS} devices that are not connected",
        kib(held)
    );
    Ok(())
}

/// Silence and new signs of life in turns: each time one expiry, and nothing that stays.
async fn awake_again(idle: &Idle, device: &DeviceId, session: &mut Session) -> Outcome {
    const TURNS: usize = 40;
    let mut before = None;
    for turn in 0..TURNS {
        idle.hub.touch(device);
        idle.expires(session, Instant::now()).await?;
        if turn == TURNS / 4 {
            before = Some((alloc::settled().await, tasks::alive()));
        }
    }
    let Some((heap, alive)) = before else {
        return Ok(());
    };
    let (held, more) = (held_since(heap).await, tasks::alive().saturating_sub(alive));
    ensure!(
        more <= 2 && held < 4096,
        "What a deadline leaves behind when it has passed comes on top of the next one.",
        "{more} more tasks are alive and {held} more bytes held after a device expired and came back {} times",
        TURNS - TURNS / 4
    );
    Ok(())
}

async fn connect(hub: &Hub) -> (Vec<DeviceId>, Vec<Session>) {
    let fleet = traffic::fleet("oslo", DEVICES);
    let mut sessions = Vec::new();
    for device in &fleet {
        sessions.push(hub.connect(device.clone()).await);
    }
    (fleet, sessions)
}

/// Every device gives `rounds` signs of life. Ten thousand rounds take a second of the paused clock.
async fn beat(hub: &Hub, fleet: &[DeviceId], rounds: usize) {
    for round in 0..rounds {
        fleet.iter().for_each(|device| hub.touch(device));
        if round % 10 == 9 {
            sleep(Duration::from_millis(1)).await;
        }
        tokio::task::yield_now().await;
    }
}
