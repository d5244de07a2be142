//! The auditor: puts statements together, one after the other.

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use crate::model::{BankError, Statement};
use crate::{desk, ledger};

pub struct Request {
    pub id: u32,
    pub reply: oneshot::Sender<Result<Statement, BankError>>,
}

pub async fn run(db: PgPool, mut inbox: mpsc::Receiver<Request>, desk: mpsc::Sender<desk::Request>) {
    while let Some(Request { id, reply }) = inbox.recv().await {
        reply.send(put_together(&db, &desk, id).await).ok();
    }
}

/// The desk knows which accounts there are.
async fn put_together(db: &PgPool, desk: &mpsc::Sender<desk::Request>, id: u32) -> Result<Statement, BankError> {
    let (reply, balance) = oneshot::channel();
    let asked = desk.send(desk::Request::Balance { id, reply }).await;
    asked.map_err(|err| BankError::Db(err.to_string()))?;
    balance.await.map_err(|err| BankError::Db(err.to_string()))??;
    ledger::statement(db, id).await
}
