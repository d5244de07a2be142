use std::fmt;

use async_trait::async_trait;

/// The carrier's API, which knows what shipping costs. A quote binds nobody, and may be asked for again. It usually takes
/// 30 ms, and some seconds on a bad day.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// In cents.
    async fn quote(&self, sku: &str, quantity: i64) -> Result<i64, CarrierError>;
}

/// The carrier did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarrierError;

impl fmt::Display for CarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no quote from the carrier")
    }
}

impl std::error::Error for CarrierError {}

/// The same price for everything, without asking anybody.
#[derive(Clone, Copy, Debug)]
pub struct FlatRate {
    pub cents: i64,
}

#[async_trait]
impl Carrier for FlatRate {
    async fn quote(&self, _sku: &str, _quantity: i64) -> Result<i64, CarrierError> {
        Ok(self.cents)
    }
}
