//! A check's stage: a database with the service's tables, a provider, and two instances.

use std::sync::Arc;
use std::time::Duration;

use harness::postgres::Postgres;
use harness::{Check, Failure, OrObserved};

use crate::instance::{Instance, pool};
use crate::promise;
use crate::provider::Provider;
use crate::subject::{IdemCfg, PayResp, migrate};
use crate::traffic::Checkout;

/// Longer than any check: nobody takes over from a live attempt.
pub const LONG: IdemCfg = lease(Duration::from_secs(60));
/// The shortest lease that the contract allows, where a check has to see it end.
pub const SHORT: IdemCfg = lease(Duration::from_secs(1));

/// A generous deadline for what takes milliseconds once nothing holds it back.
pub const SOON: Duration = Duration::from_secs(5);

const fn lease(lease: Duration) -> IdemCfg {
    IdemCfg {
        lease,
        retention: Duration::from_secs(24 * 60 * 60),
    }
}

/// The check's database, with the subject's schema.
pub async fn database(cx: &Check) -> Result<Arc<Postgres>, Failure> {
    let pg = cx.postgres().await?;
    let tap = pg.another_tap().await?;
    let db = pool(&tap)?;
    migrate(&db).await.or_observed("the migrations failed")?;
    db.close().await;
    Ok(pg)
}

/// One provider for one database: whoever recovers a payment has to find the provider that was asked to charge it.
pub struct Stage {
    pub provider: Provider,
    /// Where the merchant's first request goes, as a rule.
    pub a: Instance,
    pub b: Instance,
}

impl Stage {
    pub async fn set(cx: &Check, pg: &Postgres, cfg: IdemCfg) -> Result<Stage, Failure> {
        let provider = Provider::start(cx.harness_handle())?;
        let a = Instance::start("a", pg.another_tap().await?, &provider, cfg).await?;
        let b = Instance::start("b", pg.another_tap().await?, &provider, cfg).await?;
        Ok(Stage { provider, a, b })
    }

    /// See [`promise::settles_with_one_charge`]; the request goes to `b` first.
    pub async fn settles_with_one_charge(
        &self,
        checkout: &Checkout,
        told: &[PayResp],
    ) -> Result<(), Failure> {
        let instances = [&self.b.payments, &self.a.payments];
        promise::settles_with_one_charge(&self.provider, &instances, checkout, told).await
    }

    /// See [`promise::settles_after`].
    pub async fn settles_after(
        &self,
        attempts: u32,
        checkout: &Checkout,
        told: &[PayResp],
    ) -> Result<(), Failure> {
        let instances = [&self.b.payments, &self.a.payments];
        promise::settles_after(attempts, &self.provider, &instances, checkout, told).await
    }

    /// See [`promise::replays`].
    pub async fn replays(&self, checkout: &Checkout, first: &PayResp) -> Result<(), Failure> {
        promise::replays(&[&self.a.payments, &self.b.payments], checkout, first).await
    }

    /// See [`promise::charged_once`].
    pub fn charged_once(&self, checkout: &Checkout) -> Result<(), Failure> {
        promise::charged_once(&self.provider, checkout)
    }

    /// See [`promise::uncharged`].
    pub fn uncharged(&self, checkout: &Checkout) -> Result<(), Failure> {
        promise::uncharged(&self.provider, checkout)
    }

    /// See [`promise::names_its_charge`].
    pub fn names_its_charge(&self, checkout: &Checkout, answer: &PayResp) -> Result<(), Failure> {
        promise::names_its_charge(&self.provider, checkout, answer)
    }
}
