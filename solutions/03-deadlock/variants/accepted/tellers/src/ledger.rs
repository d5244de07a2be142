//! The tables: `accounts` holds balances, `transfers` how they came about.

use sqlx::{PgConnection, PgPool};

use crate::model::{BankError, Entry, Statement, TxId};

#[derive(sqlx::FromRow)]
pub struct Account {
    pub balance_cents: i64,
    pub house: bool,
}

impl Account {
    pub fn ensure_empty(&self) -> Result<(), BankError> {
        if self.balance_cents == 0 {
            Ok(())
        } else {
            Err(BankError::NotEmpty)
        }
    }
}

pub async fn find(db: &PgPool, id: u32) -> Result<Account, BankError> {
    sqlx::query_as("SELECT balance_cents, house FROM accounts WHERE id = $1 AND closed_at IS NULL")
        .bind(i64::from(id))
        .fetch_optional(db)
        .await?
        .ok_or(BankError::NoAccount)
}

/// Adds to an account's balance, or takes from it.
pub async fn add(tx: &mut PgConnection, id: u32, cents: i64) -> Result<(), BankError> {
    let updated = sqlx::query(
        "UPDATE accounts SET balance_cents = balance_cents + $2 WHERE id = $1 AND closed_at IS NULL",
    )
    .bind(i64::from(id))
    .bind(cents)
    .execute(tx)
    .await
    .map_err(|err| match err.as_database_error() {
        Some(refused) if refused.is_check_violation() => BankError::Insufficient,
        _ => err.into(),
    })?;
    match updated.rows_affected() {
        1 => Ok(()),
        _ => Err(BankError::NoAccount),
    }
}

pub async fn record(tx: &mut PgConnection, from: u32, to: u32, cents: i64) -> Result<TxId, BankError> {
    let id =
        sqlx::query_scalar("INSERT INTO transfers (from_id, to_id, cents) VALUES ($1, $2, $3) RETURNING id")
            .bind(i64::from(from))
            .bind(i64::from(to))
            .bind(cents)
            .fetch_one(tx)
            .await?;
    Ok(TxId(id))
}

/// The balance and all that came to an account and left it, in the order of the transfers' numbers. One statement has
/// one snapshot, so they belong together.
pub async fn statement(db: &PgPool, id: u32) -> Result<Statement, BankError> {
    let rows: Vec<(i64, Option<i64>, Option<i64>)> = sqlx::query_as(
        "SELECT a.balance_cents, t.id, CASE WHEN t.to_id = a.id THEN t.cents ELSE -t.cents END
         FROM accounts a LEFT JOIN transfers t ON t.from_id = a.id OR t.to_id = a.id
         WHERE a.id = $1 AND a.closed_at IS NULL
         ORDER BY t.id",
    )
    .bind(i64::from(id))
    .fetch_all(db)
    .await?;
    let &(balance_cents, ..) = rows.first().ok_or(BankError::NoAccount)?;
    let entry = |(_, tx, cents): (i64, Option<i64>, Option<i64>)| {
        Some(Entry {
            tx: TxId(tx?),
            cents: cents?,
        })
    };
    Ok(Statement {
        account: id,
        balance_cents,
        entries: rows.into_iter().filter_map(entry).collect(),
    })
}

pub async fn close(db: &PgPool, id: u32) -> Result<(), BankError> {
    let closed = sqlx::query(
        "UPDATE accounts SET closed_at = now() WHERE id = $1 AND closed_at IS NULL AND balance_cents = 0",
    )
    .bind(i64::from(id))
    .execute(db)
    .await?;
    match closed.rows_affected() {
        1 => Ok(()),
        // Another teller has closed it, or it is not empty.
        _ => find(db, id).await.and(Err(BankError::NotEmpty)),
    }
}

pub async fn ping(db: &PgPool) -> Result<(), BankError> {
    sqlx::query("SELECT 1").execute(db).await?;
    Ok(())
}
