//! The service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::DbConfig;
use crate::ext::{Carrier, Clock, FlatRate};
use crate::health::Health;
use crate::order::{NewOrder, Order, OrderError, OrderId, Search};
use crate::session::{Db, Session};
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
        self.in_db(move |mut session| async move {
            session.begin(true).await?;
            let placed = store::insert(&mut session, &o, shipping).await;
            session.end(placed).await
        })
        .await
    }

    pub async fn get(&self, id: OrderId) -> Result<Order, OrderError> {
        self.in_db(move |mut session| async move {
            session.begin(false).await?;
            let found = store::get(&mut session, id).await;
            session.end(found).await
        })
        .await
    }

    pub async fn search(&self, q: Search) -> Result<Vec<Order>, OrderError> {
        q.validate()?;
        self.in_db(move |mut session| async move {
            session.begin(false).await?;
            let found = store::search(&mut session, &q).await;
            session.end(found).await
        })
        .await
    }

    pub fn stats(&self) -> Stats {
        Stats {
            in_db: self.db.in_use(),
            queued: self.turns.taken().saturating_sub(self.db.in_use()),
            rejected: self.rejected.load(Ordering::Relaxed),
            breaker_state: self.health.state(),
        }
    }

    /// Does the work when its turn has come, in a task: a caller that goes away leaves no statement half done, and the
    /// turn lasts until the database is rid of it.
    async fn in_db<T, F>(&self, work: impl FnOnce(Session) -> F) -> Result<T, OrderError>
    where
        T: Send + 'static,
        F: Future<Output = sqlx::Result<T>> + Send + 'static,
    {
        let pass = self.health.admit()?;
        let place = self.turns.enter().inspect_err(|_| self.count_rejected())?;
        let session = tokio::select! {
            biased;
            session = self.db.session() => session,
            () = pass.stale() => return Err(OrderError::Unavailable("the database does not answer".to_owned())),
        };
        let session = match session {
            Ok(session) => session,
            Err(OrderError::Overloaded) => {
                self.count_rejected();
                return Err(OrderError::Overloaded);
            }
            Err(err) => {
                pass.failed();
                return Err(err);
            }
        };
        if pass.is_stale() {
            session.give_back();
            return Err(OrderError::Unavailable("the database does not answer".to_owned()));
        }
        let work = work(session);
        let limit = self.query_deadline + GRACE;
        let working = tokio::spawn(async move {
            let done = match tokio::time::timeout(limit, work).await {
                Ok(done) => done.map_err(OrderError::from),
                Err(_) => Err(OrderError::Unavailable("no answer in time".to_owned())),
            };
            match done {
                Err(OrderError::Unavailable(_)) => pass.failed(),
                _ => pass.answered(),
            }
            drop(place);
            done
        });
        let done = working.await;
        done.unwrap_or_else(|err| Err(OrderError::Unavailable(err.to_string())))
    }

    fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }
}
