//! A teller serves one call after the other, with one connection. Callers may come and go: what a teller has begun it
//! ends.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::{Instant, timeout};

use crate::counter::{Counter, Job, Signs};
use crate::ledger::{self, Outcome};
use crate::model::{BankError, Statement, TxId};

/// How long a ping may take.
const SILENCE: Duration = Duration::from_secs(3);
/// How long it may take to connect.
const CONNECTING: Duration = Duration::from_secs(5);
/// A connection that has not been used for longer is tried first.
const UNUSED: Duration = Duration::from_secs(10);

/// What a teller can ask the database.
trait Question: Send + Sync {
    type Answer: Send;

    fn ask(&self, db: &mut PgConnection) -> impl Future<Output = Outcome<Self::Answer>> + Send;
}

struct Transfer {
    from: u32,
    to: u32,
    cents: i64,
}

impl Question for Transfer {
    type Answer = TxId;

    async fn ask(&self, db: &mut PgConnection) -> Outcome<TxId> {
        ledger::transfer(db, self.from, self.to, self.cents).await
    }
}

struct Balance {
    id: u32,
}

impl Question for Balance {
    type Answer = i64;

    async fn ask(&self, db: &mut PgConnection) -> Outcome<i64> {
        ledger::balance(db, self.id).await
    }
}

struct Entries {
    id: u32,
}

impl Question for Entries {
    type Answer = Statement;

    async fn ask(&self, db: &mut PgConnection) -> Outcome<Statement> {
        ledger::statement(db, self.id).await
    }
}

struct Close {
    id: u32,
}

impl Question for Close {
    type Answer = ();

    async fn ask(&self, db: &mut PgConnection) -> Outcome<()> {
        ledger::close(db, self.id).await
    }
}

pub struct Teller {
    pub counter: Arc<Counter>,
    pub signs: Arc<Signs>,
    pub options: PgConnectOptions,
    /// And when it was last used.
    pub connection: Option<(PgConnection, Instant)>,
}

impl Teller {
    pub async fn work(mut self) {
        while let Some(job) = self.counter.next().await {
            // Whoever has gone does not miss the answer.
            match job {
                Job::Transfer {
                    from,
                    to,
                    cents,
                    reply,
                } => {
                    let answer = self.serve(Transfer { from, to, cents }).await;
                    reply.send(answer).ok();
                }
                Job::Balance { id, reply } => {
                    let answer = self.serve(Balance { id }).await;
                    reply.send(answer).ok();
                }
                Job::Statement { id, reply, room } => {
                    drop(room);
                    let answer = self.serve(Entries { id }).await;
                    reply.send(answer).ok();
                }
                Job::Close { id, reply, permit } => {
                    let answer = self.serve(Close { id }).await;
                    drop(permit);
                    reply.send(answer).ok();
                }
                Job::Ping => {
                    let is_well = timeout(SILENCE, self.ping()).await.unwrap_or(false);
                    self.signs.pinged(is_well);
                }
            }
        }
    }

    async fn serve<Q: Question>(&mut self, question: Q) -> Result<Q::Answer, BankError> {
        loop {
            // If this task ends in the middle of something, the connection does too.
            let mut open = match self.connection.take() {
                Some((open, used)) if used.elapsed() < UNUSED => open,
                old => self.renew(old).await?,
            };
            match question.ask(&mut open).await {
                Ok(answer) => {
                    self.signs.answered();
                    self.connection = Some((open, Instant::now()));
                    return answer;
                }
                // The database has chosen it to go back to the beginning: nothing has happened.
                Err(sqlx::Error::Database(err)) if is_conflict(&*err) => {
                    self.signs.answered();
                    // A transaction that was dropped is rolled back before the next question.
                    if open.ping().await.is_ok() {
                        self.connection = Some((open, Instant::now()));
                    }
                }
                Err(err) => return Err(err.into()),
            }
        }
    }

    async fn renew(&self, old: Option<(PgConnection, Instant)>) -> Result<PgConnection, sqlx::Error> {
        if let Some((mut open, _)) = old
            && open.ping().await.is_ok()
        {
            return Ok(open);
        }
        let connected = timeout(CONNECTING, self.options.connect()).await;
        connected.unwrap_or_else(|_| Err(sqlx::Error::Io(ErrorKind::TimedOut.into())))
    }

    async fn ping(&mut self) -> bool {
        let old = self.connection.take();
        let open = self.renew(old).await;
        self.connection = open.ok().map(|open| (open, Instant::now()));
        self.connection.is_some()
    }
}

/// A deadlock, or a serialization failure.
fn is_conflict(err: &dyn sqlx::error::DatabaseError) -> bool {
    err.code().is_some_and(|code| code.starts_with("40"))
}
