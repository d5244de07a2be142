//! Tellers: each has a part of the accounts, and makes the transfers that begin there, one after the other.

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use crate::ledger;
use crate::model::{BankError, TxId};

/// Tellers at work.
const TELLERS: u32 = 8;

struct Order {
    from: u32,
    to: u32,
    cents: i64,
    reply: oneshot::Sender<Result<TxId, BankError>>,
}

pub struct Tellers(Vec<mpsc::Sender<Order>>);

impl Tellers {
    pub fn start(db: &PgPool, inbox: usize) -> Tellers {
        let start = |_| {
            let (teller, orders) = mpsc::channel(inbox);
            tokio::spawn(run(db.clone(), orders));
            teller
        };
        Tellers((0..TELLERS).map(start).collect())
    }

    pub async fn transfer(&self, from: u32, to: u32, cents: i64) -> Result<TxId, BankError> {
        let (reply, answer) = oneshot::channel();
        let order = Order { from, to, cents, reply };
        let teller = &self.0[(from.min(to) % TELLERS) as usize];
        teller.send(order).await.map_err(|err| BankError::Db(err.to_string()))?;
        answer.await.map_err(|err| BankError::Db(err.to_string()))?
    }
}

async fn run(db: PgPool, mut orders: mpsc::Receiver<Order>) {
    while let Some(Order { from, to, cents, reply }) = orders.recv().await {
        reply.send(transfer(&db, from, to, cents).await).ok();
    }
}

/// Two tellers meet at one account at most, and lock the rows in the order of the accounts' numbers.
async fn transfer(db: &PgPool, from: u32, to: u32, cents: i64) -> Result<TxId, BankError> {
    let mut tx = db.begin().await?;
    let mut legs = [(from, -cents), (to, cents)];
    legs.sort_by_key(|(account, _)| *account);
    for (account, cents) in legs {
        ledger::add(&mut tx, account, cents).await?;
    }
    let id = ledger::record(&mut tx, from, to, cents).await?;
    tx.commit().await?;
    Ok(id)
}
