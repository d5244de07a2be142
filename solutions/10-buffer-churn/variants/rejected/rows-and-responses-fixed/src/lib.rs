//! `render`: turns documents into the bodies that customers are sent.
//!
//! - [`document`]: what is rendered, as the teams that make documents hand it in
//! - [`Render`]: renders, into a sink or to a client
//! - `body`: the bytes of a document
//! - `blocks`, `pages`: memory that is written to

mod blocks;
mod body;
pub mod document;
mod error;
mod pages;
mod render;

pub use document::{Live, Req, Row};
pub use error::RenderError;
pub use render::{Render, RenderCfg};
