//! The service. A request is made within its caller's future; what is in the middle of something when that is dropped goes to
//! a task that brings it to its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Connection, PgConnection};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::config::DbConfig;
use crate::ext::{Carrier, Clock, FlatRate};
use crate::gate::{Gate, Place, Word};
use crate::order::{NewOrder, Order, OrderError, OrderId, Search, is_failure};
use crate::stats::Stats;
use crate::store;

/// How long after its deadline the server may take to say that it has ended a statement.
const LAST_WORDS: Duration = Duration::from_millis(500);
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);

pub struct Orders {
    carrier: Arc<dyn Carrier>,
    gate: Arc<Gate>,
    db: Arc<Db>,
}

struct Db {
    cfg: DbConfig,
    runtime: Handle,
    kept: Mutex<Vec<PgConnection>>,
}

/// A turn that is being used.
struct Visit {
    db: Arc<Db>,
    until: Instant,
    /// In the middle of something, if it is here.
    conn: Option<PgConnection>,
    place: Option<Place>,
    word: Option<Word>,
}

impl Orders {
    pub async fn new(cfg: DbConfig, clock: Arc<dyn Clock>) -> Orders {
        Orders {
            carrier: Arc::new(FlatRate { cents: 490 }),
            gate: Gate::new(cfg.clone(), clock),
            db: Arc::new(Db {
                cfg,
                runtime: Handle::current(),
                kept: Mutex::default(),
            }),
        }
    }

    /// Asks this carrier for quotes instead of taking the flat rate.
    pub fn with_carrier(self, carrier: Arc<dyn Carrier>) -> Orders {
        Orders { carrier, ..self }
    }

    pub async fn place(&self, o: NewOrder) -> Result<OrderId, OrderError> {
        o.validate()?;
        let word = self.gate.ask()?;
        let shipping = self.carrier.quote(&o.sku, o.quantity).await?;
        let total_cents = (o.unit_cents * o.quantity)
            .checked_add(shipping)
            .ok_or_else(|| OrderError::Db("bigint out of range".to_owned()))?;
        let rows = self.visit(word, &store::insert(&o, total_cents)).await?;
        let row = rows.first().ok_or_else(|| OrderError::Db("no id".to_owned()))?;
        Ok(store::id(row)?)
    }

    pub async fn get(&self, id: OrderId) -> Result<Order, OrderError> {
        let rows = self.visit(self.gate.ask()?, &store::get(id)).await?;
        let row = rows.first().ok_or(OrderError::NotFound)?;
        Ok(store::order(row)?)
    }

    pub async fn search(&self, q: Search) -> Result<Vec<Order>, OrderError> {
        q.validate()?;
        let rows = self.visit(self.gate.ask()?, &store::search(&q)).await?;
        Ok(rows.iter().map(store::order).collect::<sqlx::Result<_>>()?)
    }

    pub fn stats(&self) -> Stats {
        self.gate.stats()
    }

    async fn visit(&self, word: Word, sql: &str) -> Result<Vec<PgRow>, OrderError> {
        let place = word.turn().await?;
        let mut visit = Visit {
            until: Instant::now() + self.db.cfg.query_deadline.min(FOREVER),
            db: self.db.clone(),
            conn: None,
            place: Some(place),
            word: Some(word),
        };
        match timeout_at(visit.until, visit.run(sql)).await {
            Ok(done) => {
                visit.over(!done.as_ref().is_err_and(is_failure));
                Ok(done?)
            }
            Err(_) => {
                visit.say(false);
                Err(OrderError::Unavailable("the deadline is over".to_owned()))
            }
        }
    }
}

impl Visit {
    async fn run(&mut self, sql: &str) -> sqlx::Result<Vec<PgRow>> {
        loop {
            let kept = self.db.kept().pop();
            let Some(kept) = kept else { break };
            let conn = self.conn.insert(kept);
            // The server may have been restarted.
            if conn.ping().await.is_ok() {
                break;
            }
            self.conn = None;
        }
        if self.conn.is_none() {
            self.conn = Some(self.db.connect().await?);
        }
        let Some(conn) = &mut self.conn else {
            return Err(sqlx::Error::PoolClosed);
        };
        let done = store::run(conn, sql, self.until - Instant::now()).await;
        let usable = match &done {
            Ok(_) => true,
            Err(sqlx::Error::Database(_)) => conn.ping().await.is_ok(),
            Err(_) => false,
        };
        let conn = self.conn.take();
        if usable {
            self.db.kept().extend(conn);
        }
        done
    }

    fn say(&mut self, answered: bool) {
        match self.word.take() {
            Some(word) if answered => word.answered(),
            Some(word) => word.failed(),
            None => {}
        }
    }

    fn over(mut self, answered: bool) {
        self.say(answered);
        self.place = None;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else {
            return;
        };
        let (place, word) = (self.place.take(), self.word.take());
        self.db.runtime.spawn(self.db.clone().tidy_up(conn, place, word, self.until));
    }
}

impl Db {
    /// Reads to the end of what is going on there. The server ends that by itself.
    async fn tidy_up(self: Arc<Db>, mut conn: PgConnection, place: Option<Place>, word: Option<Word>, until: Instant) {
        let mut failed = false;
        let at_rest = async {
            loop {
                match conn.ping().await {
                    Ok(()) => return true,
                    Err(err @ sqlx::Error::Database(_)) => failed |= is_failure(&err),
                    Err(_) => return false,
                }
            }
        };
        let at_rest = timeout_at(until + LAST_WORDS.min(self.cfg.query_deadline), at_rest).await;
        let at_rest = at_rest.unwrap_or(false);
        if at_rest {
            self.kept().push(conn);
        } else {
            drop(conn);
        }
        match word {
            Some(word) if at_rest && !failed => word.answered(),
            Some(word) => word.failed(),
            None => {}
        }
        drop(place);
    }

    async fn connect(&self) -> sqlx::Result<PgConnection> {
        let mut options: PgConnectOptions = self.cfg.url.parse()?;
        options = options.statement_cache_capacity(0);
        if self.cfg.via_bouncer {
            // PgBouncer lets nobody in who sends startup parameters that it does not know.
            options = options.extra_float_digits(None);
        }
        let connected = PgConnection::connect_with(&options).await;
        // No connection is no answer, whatever the reason.
        connected.map_err(|err| sqlx::Error::Io(std::io::Error::other(err)))
    }

    fn kept(&self) -> MutexGuard<'_, Vec<PgConnection>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
