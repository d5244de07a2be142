//! `gatekeeper` stands between the edge and everything behind it: it validates events and says which rules hold.
//!
//! - [`Pipeline`]: events in, events with a verdict out; one at a time, in batches, or from a channel.
//! - [`RuleSpec`]: what customers and the fraud desk write; new ones come in while the service runs.
//! - `scan`: JSON.
//! - `event`: what an event is.

mod event;
mod pipeline;
mod rules;
mod scan;
mod stream;

pub use event::{MAX_EVENT_BYTES, Reject};
pub use pipeline::{Pipeline, Verdict};
pub use rules::{Action, RuleError, RuleSpec};
pub use stream::RunStats;
