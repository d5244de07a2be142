//! How the checks look at the hub from outside.

use std::time::Duration;

use harness::Check;
use harness::alloc;
use memory_leak_hidden::subject::{Event, Hub, HubConfig, Session};
use memory_leak_hidden::traffic;

pub const HOUR: Duration = Duration::from_secs(3600);

/// A hub whose devices never go quiet during a check.
pub fn patient_hub(cx: &Check) -> Hub {
    Hub::new(HubConfig {
        idle_ttl: 1000 * HOUR,
        outbox: cx.draw("outbox", &[32, 64, 128]),
        sweep: HOUR,
    })
}

/// Lets every task run that can, without the clock moving. Cleanup that takes a few steps gets them.
pub async fn rest() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// What a session has to read now. The clock must be paused: it moves by a millisecond, and only once every task waits.
pub async fn unread(session: &mut Session) -> Vec<Event> {
    let mut events = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(1), session.next()).await {
        events.push(event);
    }
    events
}

/// Sessions that a publish reaches, after a first one that may find out who has gone.
pub async fn reached(hub: &Hub, site: &str, number: u64) -> usize {
    hub.publish(site, traffic::message(number)).await;
    rest().await;
    hub.publish(site, traffic::message(number + 1)).await
}

/// Bytes held beyond `before`, once everything has come to rest; 0 if there are fewer than then.
pub async fn held_since(before: alloc::Heap) -> i64 {
    (alloc::settled().await - before).live_bytes.max(0)
}

pub fn kib(bytes: i64) -> String {
    format!("{} KiB", bytes / 1024)
}
