//! `pulse`: the hub between devices and the services that watch over them.
//!
//! - [`api`]: what callers see
//! - [`device`]: ids, frames and calibration, as the firmware team delivers them
//! - [`Hub`]: who is connected, what they are told, and who has gone quiet
//! - [`Session`]: one connected device's side of the hub
//! - `outbox`, `registry`: what a session has not read, and who is connected
//! - `ingest`: from a gateway's batch to headers and alarms

pub mod api;
pub mod device;
mod hub;
mod ingest;
mod outbox;
mod registry;
mod session;

pub use api::{ALARM_LEVEL, Event, HubConfig, HubError, HubSnapshot, IngestReport, Reading};
pub use device::{Calibration, DeviceId, FrameBuilder, Malformed};
pub use hub::Hub;
pub use session::Session;
