use std::time::Duration;

use memory_leak::{
    ALARM_LEVEL, DeviceId, Event, FrameBuilder, Hub, HubConfig, HubError, IngestReport, Malformed,
};
use tokio::time::{Instant, timeout};

const MINUTE: Duration = Duration::from_secs(60);

fn hub() -> Hub {
    Hub::new(HubConfig {
        idle_ttl: MINUTE,
        outbox: 4,
        sweep: Duration::from_secs(1),
    })
}

fn message(text: &'static str) -> Event {
    Event::Message(text.into())
}

#[tokio::test]
async fn a_site_hears_what_is_published_to_it() {
    let hub = hub();
    let mut door = hub.connect("berlin/door-7".into()).await;
    let mut gate = hub.connect("berlin/gate-1".into()).await;
    let mut lift = hub.connect("paris/lift-2".into()).await;
    assert_eq!(hub.publish("berlin", message("fire drill")).await, 2);
    assert_eq!(hub.publish("paris", message("all clear")).await, 1);
    assert_eq!(door.next().await, Some(message("fire drill")));
    assert_eq!(gate.next().await, Some(message("fire drill")));
    assert_eq!(lift.next().await, Some(message("all clear")));
    assert_eq!(hub.snapshot().sessions, 3);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_falls_behind_is_told_so() {
    let hub = hub();
    let mut slow = hub.connect("berlin/door-7".into()).await;
    for _ in 0..100 {
        hub.publish("berlin", message("tick")).await;
    }
    let mut heard = 0;
    while let Ok(event) = timeout(Duration::from_millis(100), slow.next()).await {
        heard += match event {
            Some(Event::Lagged(missing)) => missing,
            Some(_) => 1,
            None => return, // Disconnecting it tells it, too.
        };
    }
    assert_eq!(heard, 100);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_device_expires() {
    let hub = hub();
    let door = DeviceId::from("berlin/door-7");
    let mut session = hub.connect(door.clone()).await;
    tokio::time::sleep(MINUTE / 2).await;
    hub.touch(&door);
    let touched = Instant::now();
    assert_eq!(session.next().await, Some(Event::Expired));
    let idle = touched.elapsed();
    assert!(
        idle >= MINUTE && idle <= MINUTE + Duration::from_millis(1100),
        "{idle:?}"
    );
}

#[tokio::test]
async fn a_batch_leaves_headers_and_alarms() {
    let hub = hub();
    let batch = FrameBuilder::new("berlin")
        .plain("door-7", b"fw=1.2", &[3, 9, 4])
        .packed("gate-1", b"fw=1.3", &[0, 200, 255])
        .build();
    let expected = IngestReport {
        records: 2,
        alarms: 1,
        panicked: 0,
    };
    assert_eq!(hub.ingest(batch).await, Ok(expected));
    assert_eq!(hub.last_header(&"berlin/door-7".into()).unwrap(), "fw=1.2");
    assert_eq!(hub.last_header(&"berlin/lift-2".into()), None);
    let open = hub.alarms("berlin");
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].device.as_str(), "berlin/gate-1");
    assert!(open[0].level >= ALARM_LEVEL);
    hub.shutdown().await;
}

#[tokio::test]
async fn a_bad_batch_costs_only_itself() {
    let hub = hub();
    let malformed = HubError::Malformed(Malformed { at: 1 });
    assert_eq!(hub.ingest("\u{9}berlin".into()).await, Err(malformed));
    let cut_short = FrameBuilder::new("berlin")
        .packed("gate-1", b"", &[0, 200])
        .build();
    assert_eq!(hub.ingest(cut_short).await.unwrap().panicked, 1);
    let good = FrameBuilder::new("berlin").plain("door-7", b"", &[3]).build();
    assert_eq!(hub.ingest(good).await.unwrap().records, 1);
}

#[tokio::test]
async fn sessions_end_with_the_hub() {
    let hub = hub();
    let mut door = hub.connect("berlin/door-7".into()).await;
    hub.publish("berlin", message("goodbye")).await;
    hub.shutdown().await;
    assert_eq!(door.next().await, Some(message("goodbye")));
    assert_eq!(door.next().await, None);
}
