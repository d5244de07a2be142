//! What the log holds, and what it shows.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Something that happened at a customer's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// A version 7 UUID that the producer made: its first 48 bits are the millisecond of the event.
    pub id: Uuid,
    pub kind: String,
    pub body: String,
}

/// A correction of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    pub body: String,
}

/// Some events of one customer, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub events: Vec<Event>,
    /// Where the next page starts; none after the last event.
    pub next: Option<Cursor>,
}

/// A place between two events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The last event before it.
    pub id: Uuid,
}

impl Event {
    /// Milliseconds since 1970.
    pub fn ts(&self) -> u64 {
        (self.id.as_u128() >> 80) as u64
    }

    /// Sorts as `(ts, id)` does.
    pub(crate) fn sort_key(&self) -> String {
        self.id.to_string()
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::json!({ "id": self.id, "kind": self.kind, "body": self.body }).to_string()
    }

    pub(crate) fn from_json(json: &str) -> serde_json::Result<Event> {
        serde_json::from_str(json)
    }
}
