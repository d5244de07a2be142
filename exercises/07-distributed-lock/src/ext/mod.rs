//! What belongs to other teams: the archive, and the clients of the servers.

mod clients;
mod etcd;
mod sink;

pub use clients::{postgres, redis};
pub use etcd::{Committed, Entry, Etcd};
pub use sink::{ReportSink, Shelf, SinkError};
