//! `pricecache`: a read-through cache of prices, in front of the pricing database.
//!
//! - [`api`]: what is given: the origin, the clock, the settings, what a caller is told.
//! - [`cache`]: the cache itself.
//! - [`early`]: when a price is renewed before it expires.
//! - `shared`: the copy in Redis that all instances use, where there is one.

pub mod api;
pub mod cache;
pub mod early;
mod shared;

pub use api::{CacheCfg, CacheError, CacheStats, Env, Origin, OriginError, SystemEnv, Url};
pub use cache::PriceCache;
pub use early::should_refresh_early;
