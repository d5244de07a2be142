//! What the provider has on its books.

use std::collections::HashMap;

use bytes::Bytes;

/// A charge in the provider's book.
#[derive(Clone, Debug)]
pub struct Charged {
    pub charge_id: String,
    /// The door that the request came in by.
    pub door: String,
    pub key: String,
    pub order_id: String,
    pub(super) receipt: Bytes,
}

/// What the provider has seen. A copy: it does not change.
#[derive(Clone, Debug, Default)]
pub struct Book {
    pub charged: Vec<Charged>,
    /// The keys of the charge requests that arrived, by order.
    pub asked: HashMap<String, Vec<String>>,
    /// The keys that were looked up.
    pub lookups: Vec<String>,
    /// Charge requests that have not been answered, by order.
    pub in_flight: HashMap<String, usize>,
}

impl Book {
    pub fn charges(&self, order_id: &str) -> usize {
        self.charged
            .iter()
            .filter(|charged| charged.order_id == order_id)
            .count()
    }

    pub fn asked(&self, order_id: &str) -> usize {
        self.asked.get(order_id).map_or(0, Vec::len)
    }

    /// The order's first charge.
    pub fn charge(&self, order_id: &str) -> Option<&Charged> {
        self.charged.iter().find(|charged| charged.order_id == order_id)
    }

    /// Requests of any kind.
    pub fn calls(&self) -> usize {
        self.lookups.len() + self.asked.values().map(Vec::len).sum::<usize>()
    }
}
