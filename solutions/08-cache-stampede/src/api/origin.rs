use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

/// Where prices come from: in production a query that takes the pricing database between 30 ms and 4 s.
#[async_trait]
pub trait Origin: Send + Sync {
    async fn load(&self, k: &str) -> Result<Bytes, OriginError>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginError(pub String);

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "origin: {}", self.0)
    }
}

impl std::error::Error for OriginError {}
