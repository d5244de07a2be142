//! Documents, as callers hand them in.

mod live;

pub use live::Live;

/// A document of one tenant.
#[derive(Debug, Default)]
pub struct Req {
    pub tenant: String,
    pub id: u64,
    pub rows: Vec<Row>,
    /// Values that are looked up while the document is rendered.
    pub live: Vec<Live>,
}

/// A line of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub sku: String,
    pub text: String,
    pub qty: u32,
    /// Price of one, in cents.
    pub price_cents: u64,
}
