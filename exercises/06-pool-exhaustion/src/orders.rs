//! The service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::config::DbConfig;
use crate::ext::{Carrier, Clock, FlatRate};
use crate::health::Health;
use crate::order::{NewOrder, Order, OrderError, OrderId, Search};
use crate::stats::Stats;
use crate::store;

/// A request that met a restart or a lost connection is well again with the next attempt.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(25);

pub struct Orders {
    cfg: DbConfig,
    carrier: Arc<dyn Carrier>,
    health: Health,
    connecting: AtomicUsize,
    connected: AtomicUsize,
    rejected: AtomicU64,
}

impl Orders {
    pub async fn new(cfg: DbConfig, clock: Arc<dyn Clock>) -> Orders {
        Orders {
            health: Health::new(cfg.breaker, clock),
            cfg,
            carrier: Arc::new(FlatRate { cents: 490 }),
            connecting: AtomicUsize::new(0),
            connected: AtomicUsize::new(0),
            rejected: AtomicU64::new(0),
        }
    }

    /// Asks this carrier for quotes instead of taking the flat rate.
    pub fn with_carrier(self, carrier: Arc<dyn Carrier>) -> Orders {
        Orders { carrier, ..self }
    }

    pub async fn place(&self, o: NewOrder) -> Result<OrderId, OrderError> {
        o.validate()?;
        self.persistently(|| async {
            let (db, _in_use) = self.connect().await?;
            let mut tx = db.begin().await?;
            let id = store::insert(&mut tx, &o).await?;
            let shipping = self.carrier.quote(&o.sku, o.quantity).await?;
            store::add_shipping(&mut tx, id, shipping).await?;
            tx.commit().await?;
            Ok(id)
        })
        .await
    }

    pub async fn get(&self, id: OrderId) -> Result<Order, OrderError> {
        self.persistently(|| async {
            let (db, _in_use) = self.connect().await?;
            let mut conn = db.acquire().await?;
            Ok(store::get(&mut conn, id).await?)
        })
        .await
    }

    pub async fn search(&self, q: Search) -> Result<Vec<Order>, OrderError> {
        q.validate()?;
        self.persistently(|| async {
            let (db, _in_use) = self.connect().await?;
            let mut conn = db.acquire().await?;
            Ok(store::search(&mut conn, &q).await?)
        })
        .await
    }

    pub fn stats(&self) -> Stats {
        Stats {
            in_db: self.connected.load(Ordering::Relaxed),
            queued: self.connecting.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            breaker_state: self.health.state(),
        }
    }

    /// The database, with at most `max_db` connections.
    async fn connect(&self) -> sqlx::Result<(PgPool, Counted<'_>)> {
        let _connecting = Counted::in_(&self.connecting);
        let mut options: PgConnectOptions = self.cfg.url.parse()?;
        if self.cfg.via_bouncer {
            // PgBouncer lets nobody in who sends startup parameters that it does not know.
            options = options.extra_float_digits(None);
        }
        let pool = PgPoolOptions::new()
            .max_connections(self.cfg.max_db as u32)
            .connect_with(options)
            .await?;
        Ok((pool, Counted::in_(&self.connected)))
    }

    async fn persistently<T, F>(&self, work: impl Fn() -> F) -> Result<T, OrderError>
    where
        F: Future<Output = Result<T, OrderError>>,
    {
        let mut attempt = 1;
        loop {
            match work().await {
                Ok(done) => {
                    self.health.succeeded();
                    return Ok(done);
                }
                Err(err) if attempt == ATTEMPTS => {
                    if err == OrderError::Overloaded {
                        self.rejected.fetch_add(1, Ordering::Relaxed);
                    }
                    self.health.failed();
                    return Err(err);
                }
                Err(_) => tokio::time::sleep(PAUSE * attempt).await,
            }
            attempt += 1;
        }
    }
}

/// Counts in `counter` for as long as it lives.
struct Counted<'c>(&'c AtomicUsize);

impl Counted<'_> {
    fn in_(counter: &AtomicUsize) -> Counted<'_> {
        counter.fetch_add(1, Ordering::Relaxed);
        Counted(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
