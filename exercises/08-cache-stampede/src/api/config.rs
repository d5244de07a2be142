use std::fmt;
use std::time::Duration;

use url::Url;

use super::origin::OriginError;

#[derive(Clone, Debug)]
pub struct CacheCfg {
    /// How long a price is fresh, from the end of its load.
    pub ttl: Duration,
    /// How eagerly a price is renewed before it expires; 1 is the usual.
    pub beta: f64,
    /// How long after its expiry a price may still be served when the origin fails.
    pub stale_grace: Duration,
    /// How long an error of the origin may be answered again without asking.
    pub error_ttl: Duration,
    /// How many keys are remembered at most.
    pub max_entries: usize,
    /// The Redis that this service's instances share: `redis://host:port/`.
    pub shared: Option<Url>,
}

impl Default for CacheCfg {
    fn default() -> Self {
        CacheCfg {
            ttl: Duration::from_secs(60),
            beta: 1.0,
            stale_grace: Duration::ZERO,
            error_ttl: Duration::ZERO,
            max_entries: 100_000,
            shared: None,
        }
    }
}

/// Why there is no price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheError {
    /// The origin said so.
    Origin(OriginError),
    /// Anything else, in words.
    Failed(String),
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CacheError::Origin(err) => err.fmt(f),
            CacheError::Failed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for CacheError {}

impl From<OriginError> for CacheError {
    fn from(err: OriginError) -> Self {
        CacheError::Origin(err)
    }
}

/// For the dashboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Prices that are held now.
    pub entries: usize,
    /// Calls to the origin that are under way now.
    pub loading: usize,
    /// Calls to the origin since the start.
    pub loads: u64,
    /// Answers that needed no call.
    pub hits: u64,
}
