//! One instance of the service: its own pool, through its own tap, and its own door to the provider; where it matters,
//! on a machine of its own.

use std::sync::Arc;

use harness::postgres::PgTap;
use harness::{Failure, OrObserved};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::provider::Provider;
use crate::subject::{HttpPsp, IdemCfg, Payments};

/// Connections that an instance may open.
pub const POOL: u32 = 4;

pub struct Instance {
    pub tap: Arc<PgTap>,
    pub pool: PgPool,
    pub payments: Payments,
}

impl Instance {
    /// `name` is what the provider's book knows the instance by.
    pub async fn start(
        name: &str,
        tap: Arc<PgTap>,
        provider: &Provider,
        cfg: IdemCfg,
    ) -> Result<Instance, Failure> {
        Instance::at_door(tap, provider.door(name), cfg).await
    }

    /// [`Instance::start`], given the provider's address.
    pub(crate) async fn at_door(
        tap: Arc<PgTap>,
        base_url: String,
        cfg: IdemCfg,
    ) -> Result<Instance, Failure> {
        let pool = pool(&tap)?;
        let psp = HttpPsp { base_url };
        let payments = Payments::new(pool.clone(), Arc::new(psp), cfg).await;
        Ok(Instance { tap, pool, payments })
    }

    /// The statements that read or change data, after the first `n` of any kind, in a line each.
    pub fn statements_after(&self, n: usize) -> Vec<String> {
        let arrived = self
            .tap
            .statements_after(n)
            .into_iter()
            .filter(|statement| statement.data);
        arrived
            .map(|statement| statement.sql.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }
}

/// The statements of the run in the middle: a job that runs beside must not count.
pub fn median(runs: &mut [Vec<String>]) -> Vec<String> {
    runs.sort_by_key(Vec::len);
    runs.get(runs.len() / 2).cloned().unwrap_or_default()
}

/// Connects when it is first used.
pub fn pool(tap: &PgTap) -> Result<PgPool, Failure> {
    PgPoolOptions::new()
        .max_connections(POOL)
        .connect_lazy(&tap.url())
        .or_observed("the pool's address")
}
