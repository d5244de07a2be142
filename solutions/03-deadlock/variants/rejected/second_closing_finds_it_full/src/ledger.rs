//! The tables: `accounts` holds balances, `transfers` how they came about.

use sqlx::PgPool;

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

/// Moves the money, in one call that is a transaction of its own.
pub async fn transfer(db: &PgPool, from: u32, to: u32, cents: i64) -> Result<TxId, BankError> {
    let (outcome, number): (String, Option<i64>) =
        sqlx::query_as("SELECT outcome, number FROM move_money($1, $2, $3)")
            .bind(i64::from(from))
            .bind(i64::from(to))
            .bind(cents)
            .fetch_one(db)
            .await?;
    match (outcome.as_str(), number) {
        ("moved", Some(number)) => Ok(TxId(number)),
        ("insufficient", _) => Err(BankError::Insufficient),
        _ => Err(BankError::NoAccount),
    }
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
    let account = find(db, id).await?;
    if account.house {
        return Err(BankError::House);
    }
    account.ensure_empty()?;
    let closed = sqlx::query(
        "UPDATE accounts SET closed_at = now() WHERE id = $1 AND closed_at IS NULL AND balance_cents = 0",
    )
    .bind(i64::from(id))
    .execute(db)
    .await?;
    match closed.rows_affected() {
        1 => Ok(()),
        _ => Err(BankError::NotEmpty),
    }
}

pub async fn ping(db: &PgPool) -> Result<(), BankError> {
    sqlx::query("SELECT 1").execute(db).await?;
    Ok(())
}
