//! The tables: `accounts` holds balances, `transfers` how they came about.

use sqlx::{Connection, PgConnection};

use crate::model::{BankError, Entry, Statement, TxId};

/// An answer, or what went wrong with the database.
pub type Outcome<T> = Result<Result<T, BankError>, sqlx::Error>;

pub async fn transfer(db: &mut PgConnection, from: u32, to: u32, cents: i64) -> Outcome<TxId> {
    let mut tx = db.begin().await?;
    // In the order of the accounts' numbers, whatever the direction.
    let mut moves = [(from, -cents), (to, cents)];
    moves.sort_unstable();
    for (id, cents) in moves {
        if !add(&mut tx, id, cents).await? {
            let both_open = count_open(&mut tx, from, to).await? == 2;
            tx.rollback().await?;
            return Ok(Err(match both_open {
                true => BankError::Insufficient,
                false => BankError::NoAccount,
            }));
        }
    }
    let number = sqlx::query_scalar(
        "INSERT INTO transfers (from_id, to_id, cents) VALUES ($1, $2, $3) RETURNING id",
    )
    .bind(i64::from(from))
    .bind(i64::from(to))
    .bind(cents)
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Ok(TxId(number)))
}

/// Adds to an account's balance, or takes from it, if it is open and holds as much.
async fn add(db: &mut PgConnection, id: u32, cents: i64) -> Result<bool, sqlx::Error> {
    let updated = sqlx::query(
        "UPDATE accounts SET balance_cents = balance_cents + $2
         WHERE id = $1 AND closed_at IS NULL AND balance_cents >= -$2",
    )
    .bind(i64::from(id))
    .bind(cents)
    .execute(db)
    .await?;
    Ok(updated.rows_affected() == 1)
}

async fn count_open(db: &mut PgConnection, one: u32, other: u32) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM accounts WHERE id IN ($1, $2) AND closed_at IS NULL")
        .bind(i64::from(one))
        .bind(i64::from(other))
        .fetch_one(db)
        .await
}

pub async fn balance(db: &mut PgConnection, id: u32) -> Outcome<i64> {
    let balance: Option<i64> =
        sqlx::query_scalar("SELECT balance_cents FROM accounts WHERE id = $1 AND closed_at IS NULL")
            .bind(i64::from(id))
            .fetch_optional(db)
            .await?;
    Ok(balance.ok_or(BankError::NoAccount))
}

/// All that came to an account and left it, in the order of the transfers' numbers, as it was at one moment.
pub async fn statement(db: &mut PgConnection, id: u32) -> Outcome<Statement> {
    let found: Option<(Vec<i64>, Vec<i64>)> = sqlx::query_as(
        "SELECT
             ARRAY(SELECT id FROM transfers WHERE from_id = $1 OR to_id = $1 ORDER BY id),
             ARRAY(SELECT CASE WHEN to_id = $1 THEN cents ELSE -cents END
                   FROM transfers WHERE from_id = $1 OR to_id = $1 ORDER BY id)
         FROM accounts WHERE id = $1 AND closed_at IS NULL",
    )
    .bind(i64::from(id))
    .fetch_optional(db)
    .await?;
    Ok(found.ok_or(BankError::NoAccount).map(|(numbers, cents)| {
        let entry = |(number, cents)| Entry {
            tx: TxId(number),
            cents,
        };
        Statement {
            account: id,
            balance_cents: cents.iter().sum(),
            entries: numbers.into_iter().zip(cents).map(entry).collect(),
        }
    }))
}

pub async fn close(db: &mut PgConnection, id: u32) -> Outcome<()> {
    let closed = sqlx::query(
        "UPDATE accounts SET closed_at = now()
         WHERE id = $1 AND closed_at IS NULL AND balance_cents = 0 AND NOT house",
    )
    .bind(i64::from(id))
    .execute(&mut *db)
    .await?;
    if closed.rows_affected() == 1 {
        return Ok(Ok(()));
    }
    let house: Option<bool> =
        sqlx::query_scalar("SELECT house FROM accounts WHERE id = $1 AND closed_at IS NULL")
            .bind(i64::from(id))
            .fetch_optional(db)
            .await?;
    Ok(Err(match house {
        None => BankError::NoAccount,
        Some(true) => BankError::House,
        // When it was looked at.
        Some(false) => BankError::NotEmpty,
    }))
}
