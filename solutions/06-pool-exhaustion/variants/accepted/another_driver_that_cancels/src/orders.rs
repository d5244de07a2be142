//! The service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_postgres::NoTls;

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
        self.in_db(move |session| async move { (store::insert(&session, &o, shipping).await, session) })
            .await
    }

    pub async fn get(&self, id: OrderId) -> Result<Order, OrderError> {
        self.in_db(move |session| async move { (store::get(&session, id).await, session) })
            .await
    }

    pub async fn search(&self, q: Search) -> Result<Vec<Order>, OrderError> {
        q.validate()?;
        self.in_db(move |session| async move { (store::search(&session, &q).await, session) })
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

    /// Does the work when its turn has come, in a task: a caller that goes away leaves no statement half done, and the
    /// turn lasts until the database is rid of it.
    async fn in_db<T, F>(&self, work: impl FnOnce(Session) -> F + Send + 'static) -> Result<T, OrderError>
    where
        T: Send + 'static,
        F: Future<Output = (Result<T, OrderError>, Session)> + Send + 'static,
    {
        self.health.check()?;
        let turn = self.turns.next().await.inspect_err(|_| {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        })?;
        let pass = self.health.admit()?;
        let (db, limit) = (self.db.clone(), self.query_deadline);
        let working = tokio::spawn(async move {
            let done = match db.session().await {
                Ok(session) => within(limit, session, work).await,
                Err(err) => Err(err),
            };
            match done {
                Err(OrderError::Unavailable(_)) => pass.failed(),
                _ => pass.answered(),
            }
            drop(turn);
            done
        });
        let done = working.await;
        done.unwrap_or_else(|err| Err(OrderError::Unavailable(err.to_string())))
    }
}

/// Does the work, and cancels it when it takes too long. The connection is kept until the server has answered, so that
/// the cancellation meets nobody else; a server that does not answer even that loses it.
async fn within<T, F>(
    limit: Duration,
    session: Session,
    work: impl FnOnce(Session) -> F,
) -> Result<T, OrderError>
where
    F: Future<Output = (Result<T, OrderError>, Session)>,
{
    let canceller = session.limit().is_none().then(|| session.canceller());
    let mut working = std::pin::pin!(work(session));
    let mut done = tokio::time::timeout(limit, &mut working).await;
    if done.is_err() {
        if let Some(canceller) = canceller {
            tokio::time::timeout(GRACE, canceller.cancel_query(NoTls)).await.ok();
        }
        done = tokio::time::timeout(GRACE, &mut working).await;
    }
    match done {
        Ok((done, session)) => {
            session.end();
            done
        }
        Err(_) => Err(OrderError::Unavailable("no answer in time".to_owned())),
    }
}
