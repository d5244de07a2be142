//! `people`: the user directory. Who is active in a region, how many they are, and who has this address.
//!
//! - [`migrate`] brings the schema up to date; a deploy runs it before the new version takes traffic.
//! - [`Directory`] answers the requests, on a pool that the caller configures.
//! - [`User`], [`Status`], [`Page`] and [`Cursor`] are what goes in and comes out.

mod directory;
mod error;
mod migrate;
mod page;
mod user;

pub use directory::Directory;
pub use error::{Error, Result};
pub use migrate::{MigrateError, migrate};
pub use page::{Cursor, Page};
pub use user::{Status, User};
