//! What the cache is given and what it gives back. These files belong to the pricing team and are shared by all of its
//! services.

mod config;
mod env;
mod origin;

pub use config::{CacheCfg, CacheError, CacheStats};
pub use env::{Env, SystemEnv};
pub use origin::{Origin, OriginError};
pub use url::Url;
