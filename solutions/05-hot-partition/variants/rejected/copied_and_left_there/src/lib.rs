//! Every customer's events, newest first, in one DynamoDB table.

mod config;
mod event;
mod log;
mod moving;
mod pages;
mod partstore;

pub use config::LogConfig;
pub use event::{Cursor, Event, Page, Patch};
pub use log::{EventLog, LogError, Result};
pub use partstore::{Found, Key, PartStore, Row, StoreError};
