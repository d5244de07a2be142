//! The desk: takes what customers ask about their accounts, one request after the other.

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use crate::model::{BankError, Statement};
use crate::{audit, ledger};

pub enum Request {
    Balance {
        id: u32,
        reply: oneshot::Sender<Result<i64, BankError>>,
    },
    /// Passed on to the auditor, who answers.
    Statement {
        id: u32,
        reply: oneshot::Sender<Result<Statement, BankError>>,
    },
}

pub async fn run(db: PgPool, mut inbox: mpsc::Receiver<Request>, audit: mpsc::Sender<audit::Request>) {
    while let Some(request) = inbox.recv().await {
        match request {
            Request::Balance { id, reply } => {
                let balance = ledger::find(&db, id).await.map(|account| account.balance_cents);
                // Whoever has gone does not miss the answer.
                reply.send(balance).ok();
            }
            Request::Statement { id, reply } => {
                if audit.send(audit::Request { id, reply }).await.is_err() {
                    return;
                }
            }
        }
    }
}
