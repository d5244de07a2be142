//! A connection for one request.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Postgres};

use crate::config::DbConfig;

/// The replica's one pool.
#[derive(Clone)]
pub struct Db {
    pool: PgPool,
    via_bouncer: bool,
    deadline: Duration,
}

impl Db {
    /// # Panics
    /// When the address in `cfg` is none.
    pub fn new(cfg: &DbConfig) -> Db {
        let mut options: PgConnectOptions = match cfg.url.parse() {
            Ok(options) => options,
            Err(err) => panic!("the database's address cannot be read: {err}"),
        };
        options = match cfg.via_bouncer {
            // PgBouncer lets nobody in who sends startup parameters that it does not know.
            true => options.extra_float_digits(None),
            false => options.options([("statement_timeout", cfg.query_deadline.as_millis() * 3)]),
        };
        let pool = PgPoolOptions::new()
            .max_connections(cfg.max_db as u32)
            .acquire_timeout(cfg.query_deadline * 3)
            .connect_lazy_with(options);
        Db {
            pool,
            via_bouncer: cfg.via_bouncer,
            deadline: cfg.query_deadline,
        }
    }

    /// For one statement.
    pub async fn session(&self) -> sqlx::Result<Session> {
        self.begin_if(self.via_bouncer).await
    }

    /// For statements that belong together.
    pub async fn transaction(&self) -> sqlx::Result<Session> {
        self.begin_if(true).await
    }

    async fn begin_if(&self, transaction: bool) -> sqlx::Result<Session> {
        let mut session = Session {
            conn: Some(self.pool.acquire().await?),
            transaction,
            via_bouncer: self.via_bouncer,
        };
        if transaction && self.via_bouncer {
            let ms = self.deadline.as_millis() * 3;
            let begin = AssertSqlSafe(format!("BEGIN; SET LOCAL statement_timeout = {ms}"));
            session.execute(sqlx::raw_sql(begin)).await?;
        } else if transaction {
            session.execute(sqlx::raw_sql("BEGIN")).await?;
        }
        Ok(session)
    }
}

/// Dropped before its end it closes its connection: nobody knows what is still under way there, and whoever found out
/// would have to wait for it.
///
/// Behind PgBouncer the server's connection may be another one with every transaction, and a driver prepares a statement
/// in one round trip and runs it in the next. So everything is a transaction there, nothing in it has a name that would
/// outlive it, and its settings are its own.
pub struct Session {
    /// `None` only while it is being dropped.
    conn: Option<PoolConnection<Postgres>>,
    transaction: bool,
    via_bouncer: bool,
}

impl Session {
    /// Whether statements may stay prepared on this connection.
    pub fn persistent(&self) -> bool {
        !self.via_bouncer
    }

    /// Commits or rolls back, and gives the connection back if it is still of use.
    pub async fn end<T>(mut self, outcome: sqlx::Result<T>) -> sqlx::Result<T> {
        if let Err(err) = &outcome
            && !matches!(err, sqlx::Error::Database(_) | sqlx::Error::RowNotFound)
        {
            return outcome;
        }
        if self.transaction {
            let verb = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
            self.execute(sqlx::raw_sql(verb)).await?;
        }
        drop(self.conn.take());
        outcome
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            drop(conn.detach());
        }
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.conn {
            Some(conn) => conn,
            None => unreachable!("a session that is over is gone"),
        }
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.conn {
            Some(conn) => conn,
            None => unreachable!("a session that is over is gone"),
        }
    }
}
