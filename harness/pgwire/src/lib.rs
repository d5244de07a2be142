//! PostgreSQL's wire protocol (version 3), as far as a grader needs it.
//!
//! In reading order:
//!
//! - [`frame`]: where one message ends and the next begins, without looking inside;
//! - [`opening`]: the untagged packets that open a connection (startup, TLS request, cancel request);
//! - [`request`] and [`reply`]: typed views of the messages that matter, everything else opaque;
//! - [`write`](mod@write): the messages a client sends;
//! - [`client`]: a small client of the simple protocol, for administration and setup.

pub mod client;
pub mod frame;
pub mod opening;
pub mod reply;
pub mod request;
pub mod write;

pub use client::{Client, Config, Error, Row};
pub use frame::{Frame, FrameError, Header};
pub use opening::Opening;
pub use reply::{Reply, ServerError};
pub use request::Request;
