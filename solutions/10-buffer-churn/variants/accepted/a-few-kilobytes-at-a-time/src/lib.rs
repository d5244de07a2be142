//! `render`: turns documents into the bodies that customers are sent.
//!
//! - [`document`]: what is rendered, as the teams that make documents hand it in
//! - [`Render`]: renders, into a sink or to a client
//! - `body`: the bytes of a document
//! - `chunk`: memory that is written to

mod body;
mod chunk;
pub mod document;
mod error;
mod render;

pub use document::{Live, Req, Row};
pub use error::RenderError;
pub use render::{Render, RenderCfg};
