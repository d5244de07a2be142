//! What the database is asked.

use sqlx::error::DatabaseError;

use crate::model::{BankError, Entry, Statement, TxId};
use crate::pool::Lease;

/// What has come of a transaction: it was made, or refused, or the database has failed.
type Outcome<T> = Result<Result<T, BankError>, sqlx::Error>;

pub async fn transfer(mut lease: Lease, from: u32, to: u32, cents: i64) -> Result<TxId, BankError> {
    loop {
        begin(&mut lease, "BEGIN").await?;
        let moved = in_transfer(&mut lease, from, to, cents).await;
        match end(&mut lease, moved).await {
            // The database has chosen it to go back to the beginning: nothing has happened.
            Err(sqlx::Error::Database(err)) if is_conflict(&*err) => {}
            ended => return ended?,
        }
    }
}

async fn in_transfer(lease: &mut Lease, from: u32, to: u32, cents: i64) -> Outcome<TxId> {
    let (from, to) = (i64::from(from), i64::from(to));
    // Deposits refer to accounts, and may go on doing so: no key is updated.
    let open: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT id, balance_cents FROM accounts
         WHERE id IN ($1, $2) AND closed_at IS NULL
         ORDER BY id FOR NO KEY UPDATE",
    )
    .bind(from)
    .bind(to)
    .fetch_all(lease.ask())
    .await?;
    if open.len() < 2 {
        return Ok(Err(BankError::NoAccount));
    }
    if open.iter().any(|(id, balance)| *id == from && *balance < cents) {
        return Ok(Err(BankError::Insufficient));
    }
    sqlx::query(
        "UPDATE accounts SET balance_cents = balance_cents + CASE WHEN id = $1 THEN -$3 ELSE $3 END
         WHERE id IN ($1, $2)",
    )
    .bind(from)
    .bind(to)
    .bind(cents)
    .execute(lease.ask())
    .await?;
    let tx = sqlx::query_scalar(
        "INSERT INTO transfers (from_id, to_id, cents) VALUES ($1, $2, $3) RETURNING id",
    )
    .bind(from)
    .bind(to)
    .bind(cents)
    .fetch_one(lease.ask())
    .await?;
    Ok(Ok(TxId(tx)))
}

pub async fn balance(mut lease: Lease, id: u32) -> Result<i64, BankError> {
    let balance: Option<i64> =
        sqlx::query_scalar("SELECT balance_cents FROM accounts WHERE id = $1 AND closed_at IS NULL")
            .bind(i64::from(id))
            .fetch_optional(lease.ask())
            .await?;
    lease.rest();
    balance.ok_or(BankError::NoAccount)
}

pub async fn statement(mut lease: Lease, id: u32) -> Result<Statement, BankError> {
    begin(&mut lease, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let told = in_statement(&mut lease, id).await;
    end(&mut lease, told).await?
}

async fn in_statement(lease: &mut Lease, id: u32) -> Outcome<Statement> {
    let open: Option<i64> =
        sqlx::query_scalar("SELECT id FROM accounts WHERE id = $1 AND closed_at IS NULL")
            .bind(i64::from(id))
            .fetch_optional(lease.ask())
            .await?;
    if open.is_none() {
        return Ok(Err(BankError::NoAccount));
    }
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT id, CASE WHEN to_id = $1 THEN cents ELSE -cents END
         FROM transfers WHERE from_id = $1 OR to_id = $1
         ORDER BY id",
    )
    .bind(i64::from(id))
    .fetch_all(lease.ask())
    .await?;
    let entry = |(tx, cents)| Entry { tx: TxId(tx), cents };
    let entries: Vec<Entry> = rows.into_iter().map(entry).collect();
    Ok(Ok(Statement {
        account: id,
        balance_cents: entries.iter().map(|entry| entry.cents).sum(),
        entries,
    }))
}

pub async fn close(mut lease: Lease, id: u32) -> Result<(), BankError> {
    loop {
        begin(&mut lease, "BEGIN").await?;
        let closed = in_closing(&mut lease, id).await;
        match end(&mut lease, closed).await {
            Err(sqlx::Error::Database(err)) if is_conflict(&*err) => {}
            ended => return ended?,
        }
    }
}

async fn in_closing(lease: &mut Lease, id: u32) -> Outcome<()> {
    let open: Option<(i64, bool)> = sqlx::query_as(
        "SELECT balance_cents, house FROM accounts
         WHERE id = $1 AND closed_at IS NULL FOR NO KEY UPDATE",
    )
    .bind(i64::from(id))
    .fetch_optional(lease.ask())
    .await?;
    match open {
        None => return Ok(Err(BankError::NoAccount)),
        Some((_, true)) => return Ok(Err(BankError::House)),
        Some((0, false)) => {}
        Some(_) => return Ok(Err(BankError::NotEmpty)),
    }
    sqlx::query("UPDATE accounts SET closed_at = now() WHERE id = $1")
        .bind(i64::from(id))
        .execute(lease.ask())
        .await?;
    Ok(Ok(()))
}

pub async fn show(lease: &mut Lease) -> Result<(), BankError> {
    begin(lease, "SELECT balance_cents FROM accounts WHERE id = 0").await
}

/// Nothing has happened before it: if the connection has broken in the meantime, another is as good.
async fn begin(lease: &mut Lease, how: &'static str) -> Result<(), BankError> {
    if sqlx::raw_sql(how).execute(lease.ask()).await.is_err() {
        lease.renew().await?;
        sqlx::raw_sql(how).execute(lease.ask()).await?;
    }
    Ok(())
}

/// Ends a transaction, so that the connection is in the middle of none.
async fn end<T>(lease: &mut Lease, outcome: Outcome<T>) -> Outcome<T> {
    if let Ok(Ok(_)) = outcome {
        sqlx::raw_sql("COMMIT").execute(lease.ask()).await?;
        lease.rest();
    } else if matches!(outcome, Ok(_) | Err(sqlx::Error::Database(_)))
        && sqlx::raw_sql("ROLLBACK").execute(lease.ask()).await.is_ok()
    {
        lease.rest();
    }
    outcome
}

/// A deadlock, or a serialization failure.
fn is_conflict(err: &dyn DatabaseError) -> bool {
    err.code().is_some_and(|code| code.starts_with("40"))
}
