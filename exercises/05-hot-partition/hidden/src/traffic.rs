//! What producers send: events of one customer, one each millisecond, with ids as they make them.

use fastrand::Rng;
use serde_json::json;
use uuid::Uuid;

use crate::subject::Event;

/// Customers of the usual size.
pub const SMALL: [&str; 3] = ["corner-shop", "lantern-books", "harbour-tea"];

/// The second in which the history of every customer begins, and that in which today's events do.
const LONG_AGO: u64 = 1_700_000_000_000;
const TODAY: u64 = 1_732_871_520_000;

/// Makes events that follow each other, each newer than all before.
#[derive(Debug)]
pub struct Producer {
    rng: Rng,
    now: u64,
}

impl Producer {
    pub fn of_history(rng: Rng) -> Producer {
        Producer { rng, now: LONG_AGO }
    }

    pub fn of_today(rng: Rng) -> Producer {
        Producer { rng, now: TODAY }
    }

    pub fn event(&mut self) -> Event {
        self.now += 1;
        let random = self.rng.u128(..);
        let (version, variant) = (7_u128 << 76, 2_u128 << 62);
        let id = (u128::from(self.now) << 80)
            | version
            | (random >> 116 << 64)
            | variant
            | (random & (u128::MAX >> 66));
        let kinds = ["order.placed", "order.paid", "parcel.sent", "parcel.arrived"];
        let kind = kinds[self.rng.usize(..kinds.len())];
        let body = json!({ "order": self.now % 100_000, "by": self.rng.u32(..), "note": "x".repeat(60) });
        Event {
            id: Uuid::from_u128(id),
            kind: kind.to_owned(),
            body: body.to_string(),
        }
    }

    /// The oldest first.
    pub fn events(&mut self, n: usize) -> Vec<Event> {
        (0..n).map(|_| self.event()).collect()
    }
}

/// An event as the table has had it from the first day on.
pub fn stored(event: &Event) -> String {
    json!({ "id": event.id, "kind": event.kind, "body": event.body }).to_string()
}
