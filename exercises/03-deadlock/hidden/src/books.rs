//! What the database says, past the service: where the money is, and how it came there.

use std::collections::HashSet;

use harness::postgres::Postgres;
use harness::{Failure, OrObserved, Outcome, ensure};

/// The books at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    /// All that the accounts hold together.
    pub cents: i64,
    /// Transfers, deposits left out.
    pub transfers: i64,
    /// Accounts whose balance is not what came minus what went.
    pub unexplained: i64,
    /// Closed accounts that hold something.
    pub buried: i64,
}

impl Books {
    pub async fn read(pg: &Postgres) -> Result<Books, Failure> {
        let sql = "SELECT (SELECT coalesce(sum(balance_cents), 0) FROM accounts)::bigint,
                (SELECT count(*) FROM transfers WHERE from_id IS NOT NULL),
                (SELECT count(*) FROM accounts a WHERE balance_cents <>
                    (SELECT coalesce(sum(CASE WHEN to_id = a.id THEN cents ELSE -cents END), 0)
                       FROM transfers WHERE to_id = a.id OR from_id = a.id)),
                (SELECT count(*) FROM accounts WHERE closed_at IS NOT NULL AND balance_cents <> 0)";
        let found = numbers(pg, sql).await?;
        let [cents, transfers, unexplained, buried] = found[..] else {
            return Err(Failure::environment("the books could not be read"));
        };
        Ok(Books {
            cents,
            transfers,
            unexplained,
            buried,
        })
    }

    /// No money came or went, and every balance is explained by its transfers.
    pub fn balance(&self, before: &Books) -> Outcome {
        ensure!(
            self.cents == before.cents,
            "Money came into being or was lost: both legs of a transfer belong in one transaction, and none is made \
             without the other.",
            "the accounts held {} cents before and hold {} now",
            before.cents,
            self.cents
        );
        ensure!(
            self.unexplained == 0,
            "A transfer and its record belong in one transaction: balances have changed that no transfer explains, or the \
             other way round.",
            "{} accounts hold something else than what came to them minus what went",
            self.unexplained
        );
        ensure!(
            self.buried == 0,
            "Whether an account is empty has to be decided together with closing it, against transfers that arrive in \
             between.",
            "{} closed accounts still hold money",
            self.buried
        );
        Ok(())
    }

    /// As many transfers are on record as callers were told of.
    pub fn hold(&self, before: &Books, told: usize) -> Outcome {
        let made = self.transfers - before.transfers;
        ensure!(
            made <= told as i64,
            "A transfer whose outcome was not known was made again: a time-out or a retry does not undo what the database \
             has done.",
            "{made} transfers are on record, callers were told of {told}"
        );
        ensure!(
            made >= told as i64,
            "A caller is told of a transfer when it is committed, not before.",
            "{made} transfers are on record, callers were told of {told}"
        );
        Ok(())
    }
}

/// The first row's columns, as numbers.
pub async fn numbers(pg: &Postgres, sql: &str) -> Result<Vec<i64>, Failure> {
    let mut admin = pg.admin().await?;
    let rows = admin
        .query(sql)
        .await
        .or_observed("the tables are not as the contract says")?;
    let row = rows
        .first()
        .or_observed("the tables are not as the contract says")?;
    let columns = std::iter::successors(Some(0), |column| Some(column + 1));
    let values = columns.map_while(|column| row.text(column));
    Ok(values.filter_map(|text| text.parse().ok()).collect())
}

/// How many of these server processes sit in a transaction without working.
pub async fn transactions_left_open(pg: &Postgres, pids: &HashSet<i32>) -> Result<i64, Failure> {
    let listed: Vec<String> = pids.iter().map(i32::to_string).collect();
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND pid = ANY ('{{{}}}')",
        listed.join(",")
    );
    Ok(numbers(pg, &sql).await?.first().copied().unwrap_or_default())
}
