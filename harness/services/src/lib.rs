//! The servers that scenarios need, as endpoints: PostgreSQL, Redis, PgBouncer, etcd, ZooKeeper, DynamoDB.
//!
//! [`start`] has a server by a container, by an installed program, or by one of the distribution's packages that it
//! fetches into a cache without root (DynamoDB: one that cargo builds); else it says what was looked for, where, and what to type. In reading order:
//!
//! - [`kind`](Kind), [`options`](Options), [`error`](Error): what can be asked for, and what can go wrong;
//! - [`server`](Server), [`endpoint`](Endpoint): what is had, and whether it answers;
//! - `find`, `fetch`, `built`, `daemon`: the ways;
//! - `postgres`, `redis`, `pgbouncer`, `etcd`, `zookeeper`, `dynamodb`: the servers, each with the same verbs;
//! - `running`, `container`: a server as a process, and as a container;
//! - [`process`], [`owner`](Owner), `record`, [`recover`], [`state`](State): nothing stays behind that nobody wants;
//! - [`survey`](fn@survey), [`purge`]: what `doctor` tells and `services down --purge` removes;
//! - [`testing`]: a database for a smoke test.

mod background;
mod built;
mod cache;
mod container;
mod daemon;
mod dynamodb;
mod endpoint;
mod error;
mod etcd;
mod fetch;
mod find;
mod folder;
mod kind;
mod lock;
mod options;
mod owner;
mod pgbouncer;
mod postgres;
pub mod process;
mod record;
mod recover;
mod redis;
mod running;
mod secret;
mod server;
mod state;
mod survey;
pub mod testing;
mod user;
mod zookeeper;

pub use cache::{Entry, Purged, purge};
pub use container::Order;
pub use daemon::{End, Limited, LimitedProgram};
pub use endpoint::Endpoint;
pub use error::{Attempt, Error};
pub use kind::{Kind, Mode, UnknownKind, UnknownMode};
pub use options::{Options, Say, Search};
pub use owner::{Life, Owner};
pub use pgbouncer::Bouncer;
pub use postgres::PostgresSeed;
pub use recover::{Recovered, abandon, recover};
pub use server::{How, Server, start};
pub use state::{Detached, State};
pub use survey::{DaemonState, KindSurvey, Survey, Way, survey};
