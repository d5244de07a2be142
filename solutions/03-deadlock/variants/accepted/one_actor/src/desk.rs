//! The desk: takes what customers ask about their accounts, one request after the other, and answers it itself.

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use crate::ledger;
use crate::model::{BankError, Statement};

pub enum Request {
    Balance {
        id: u32,
        reply: oneshot::Sender<Result<i64, BankError>>,
    },
    Statement {
        id: u32,
        reply: oneshot::Sender<Result<Statement, BankError>>,
    },
}

pub async fn run(db: PgPool, mut inbox: mpsc::Receiver<Request>) {
    while let Some(request) = inbox.recv().await {
        match request {
            Request::Balance { id, reply } => {
                let balance = ledger::find(&db, id).await.map(|account| account.balance_cents);
                reply.send(balance).ok();
            }
            Request::Statement { id, reply } => {
                reply.send(ledger::statement(&db, id).await).ok();
            }
        }
    }
}
