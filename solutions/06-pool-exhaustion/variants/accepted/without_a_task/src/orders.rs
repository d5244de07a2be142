//! The service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::DbConfig;
use crate::ext::{Carrier, Clock, FlatRate};
use crate::health::Health;
use crate::order::{NewOrder, Order, OrderError, OrderId, Search};
use crate::session::Db;
use crate::stats::Stats;
use crate::store;
use crate::turns::Turns;

/// The server ends what takes too long; only when it does not say so either is the connection given up.
const GRACE: Duration = Duration::from_millis(250);

pub struct Orders {
    db: Db,
    query_deadline: Duration,
    carrier: Arc<dyn Carrier>,
    health: Arc<Health>,
    turns: Turns,
    rejected: AtomicU64,
}

impl Orders {
    pub async fn new(cfg: DbConfig, clock: Arc<dyn Clock>) -> Orders {
        Orders {
            health: Health::new(cfg.breaker, clock),
            turns: Turns::new(&cfg),
            db: Db::new(&cfg),
            query_deadline: cfg.query_deadline,
            carrier: Arc::new(FlatRate { cents: 490 }),
            rejected: AtomicU64::new(0),
        }
    }

    /// Asks this carrier for quotes instead of taking the flat rate.
    pub fn with_carrier(self, carrier: Arc<dyn Carrier>) -> Orders {
        Orders { carrier, ..self }
    }

    pub async fn place(&self, o: NewOrder) -> Result<OrderId, OrderError> {
        o.validate()?;
        self.health.check()?;
        // Before the request takes a place of anybody's: the carrier takes its time.
        let shipping = self.carrier.quote(&o.sku, o.quantity).await?;
        let db = self.db.clone();
        self.in_db(async move {
            let mut session = db.transaction().await?;
            let placed = store::insert(&mut session, &o, shipping).await;
            session.end(placed).await
        })
        .await
    }

    pub async fn get(&self, id: OrderId) -> Result<Order, OrderError> {
        let db = self.db.clone();
        self.in_db(async move {
            let mut session = db.session().await?;
            let found = store::get(&mut session, id).await;
            session.end(found).await
        })
        .await
    }

    pub async fn search(&self, q: Search) -> Result<Vec<Order>, OrderError> {
        q.validate()?;
        let db = self.db.clone();
        self.in_db(async move {
            let mut session = db.session().await?;
            let found = store::search(&mut session, &q).await;
            session.end(found).await
        })
        .await
    }

    pub fn stats(&self) -> Stats {
        Stats {
            in_db: self.turns.taken(),
            queued: self.turns.waiting(),
            rejected: self.rejected.load(Ordering::Relaxed),
            breaker_state: self.health.state(),
        }
    }

    /// Does the work when its turn has come. A caller that goes away drops it, and its session with it.
    async fn in_db<T>(
        &self,
        work: impl Future<Output = sqlx::Result<T>> + Send,
    ) -> Result<T, OrderError> {
        self.health.check()?;
        let turn = self.turns.next().await.inspect_err(|_| {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        })?;
        let pass = self.health.admit()?;
        let limit = self.query_deadline + GRACE;
        let done = match tokio::time::timeout(limit, work).await {
            Ok(done) => done.map_err(OrderError::from),
            Err(_) => Err(OrderError::Unavailable("no answer in time".to_owned())),
        };
        match done {
            Err(OrderError::Unavailable(_)) => pass.failed(),
            _ => pass.answered(),
        }
        drop(turn);
        done
    }
}
