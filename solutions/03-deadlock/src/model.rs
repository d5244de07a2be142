//! What callers of the service see.

use std::fmt;

#[derive(Clone, Copy, Debug)]
pub struct BankConfig {
    /// Connections to the database.
    pub pool_size: u32,
    /// Requests that may wait in an inbox.
    pub inbox: usize,
    /// Accounts that may be in the course of being closed at one time.
    pub max_closing: usize,
}

/// A transfer's number, `transfers.id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId(pub i64);

/// An account's balance, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub account: u32,
    pub balance_cents: i64,
    pub entries: Vec<Entry>,
}

/// One transfer, as the account's holder sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub tx: TxId,
    /// Negative when it left the account.
    pub cents: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Ok,
    /// The database does not answer.
    Degraded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BankError {
    /// The account does not hold as much.
    Insufficient,
    /// There is no such account, or it is closed.
    NoAccount,
    /// A transfer needs two accounts.
    SameAccount,
    /// Only an empty account can be closed.
    NotEmpty,
    /// The bank's own accounts cannot be closed.
    House,
    /// The database failed.
    Db(String),
}

impl fmt::Display for BankError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BankError::Insufficient => f.write_str("insufficient funds"),
            BankError::NoAccount => f.write_str("no such account"),
            BankError::SameAccount => f.write_str("both accounts are the same"),
            BankError::NotEmpty => f.write_str("the account is not empty"),
            BankError::House => f.write_str("this is an account of the bank's own"),
            BankError::Db(cause) => write!(f, "the database failed: {cause}"),
        }
    }
}

impl std::error::Error for BankError {}

impl From<sqlx::Error> for BankError {
    fn from(err: sqlx::Error) -> Self {
        BankError::Db(err.to_string())
    }
}
