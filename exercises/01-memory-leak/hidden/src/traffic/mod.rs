//! What `pulse`'s users do: fleets that connect and reconnect, publishers, gateways with their batches; and all of it
//! together through a [`night`].

pub mod night;

use bytes::Bytes;

use crate::subject::{DeviceId, Event, FrameBuilder, Hub, Session};

/// The devices of a site.
pub fn fleet(site: &str, count: usize) -> Vec<DeviceId> {
    (0..count).map(|n| DeviceId::new(site, &name(n))).collect()
}

/// A device's name at its site.
pub fn name(n: usize) -> String {
    format!("door-{n}")
}

/// A message that says its number.
pub fn message(number: u64) -> Event {
    Event::Message(Bytes::copy_from_slice(&number.to_be_bytes()))
}

/// The number of a message; `None` for other events.
pub fn number(event: &Event) -> Option<u64> {
    match event {
        Event::Message(body) => body.as_ref().try_into().ok().map(u64::from_be_bytes),
        _ => None,
    }
}

/// A device connects and hears what is published to its site meanwhile: the session, and what it heard. As after a
/// network's hiccup, the hub learns only then that the device's `previous` connection has gone.
pub async fn connect_and_hear(
    hub: &Hub,
    device: &DeviceId,
    previous: Option<Session>,
    number: u64,
) -> (Session, Option<Event>) {
    let mut session = hub.connect(device.clone()).await;
    drop(previous);
    hub.publish(device.site(), message(number)).await;
    let heard = session.next().await;
    (session, heard)
}

/// One record of one device, with a plain body of `body_bytes`.
pub fn large_batch(device: &DeviceId, header: &[u8], body_bytes: usize) -> Bytes {
    FrameBuilder::new(device.site())
        .plain(name_of(device), header, &vec![1; body_bytes])
        .build()
}

/// A small record of each device, `sample` being its only one.
pub fn small_batch(site: &str, devices: &[DeviceId], sample: u8) -> Bytes {
    devices
        .iter()
        .fold(FrameBuilder::new(site), |frame, device| {
            frame.plain(name_of(device), b"", &[sample])
        })
        .build()
}

/// A packed body that stands for `runs` times 65 535 samples.
pub fn packed_body(runs: usize, sample: u8) -> Vec<u8> {
    [0xff, 0xff, sample].repeat(runs)
}

/// The codec panics on it.
pub fn batch_that_panics(site: &str) -> Bytes {
    FrameBuilder::new(site).packed("door-0", b"", &[0, 9]).build()
}

pub fn name_of(device: &DeviceId) -> &str {
    let id = device.as_str();
    id.split_once('/').map_or(id, |(_, name)| name)
}
