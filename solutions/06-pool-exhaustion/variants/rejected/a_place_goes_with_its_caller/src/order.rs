//! Orders, and what is answered about them.

use std::fmt;

use crate::ext::CarrierError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrderId(pub i64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// The shop's own number, different for each order.
    pub reference: String,
    pub customer: String,
    pub sku: String,
    pub quantity: i64,
    pub unit_cents: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Order {
    pub id: i64,
    pub reference: String,
    pub customer: String,
    pub sku: String,
    pub quantity: i64,
    /// Shipping included.
    pub total_cents: i64,
}

/// The newest orders first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    pub by: SearchBy,
    /// Compared as it is.
    pub value: String,
    /// 1 to 100.
    pub limit: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SearchBy {
    Customer,
    Sku,
    Reference,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderError {
    /// There is more to do than the database can take; nothing was done (503, with `Retry-After`).
    Overloaded,
    /// The database, or the carrier, did not answer (503).
    Unavailable(String),
    /// There is an order with this reference (409).
    Conflict,
    /// There is no such order (404).
    NotFound,
    /// The request can never succeed (400).
    Invalid(&'static str),
    /// The database answered with another error (500).
    Db(String),
}

impl NewOrder {
    pub(crate) fn validate(&self) -> Result<(), OrderError> {
        for text in [&self.reference, &self.customer, &self.sku] {
            if text.is_empty() || text.len() > 64 || text.contains('\0') {
                return Err(OrderError::Invalid(
                    "reference, customer and sku are 1 to 64 bytes",
                ));
            }
        }
        if !(1..=1_000).contains(&self.quantity) || !(1..=100_000_000).contains(&self.unit_cents) {
            return Err(OrderError::Invalid("quantity or price out of range"));
        }
        Ok(())
    }
}

impl Search {
    pub(crate) fn validate(&self) -> Result<(), OrderError> {
        if self.value.is_empty() || self.value.len() > 64 || self.value.contains('\0') {
            return Err(OrderError::Invalid("a value to search for is 1 to 64 bytes"));
        }
        if !(1..=100).contains(&self.limit) {
            return Err(OrderError::Invalid("limit is 1 to 100"));
        }
        Ok(())
    }
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OrderError::Overloaded => f.write_str("overloaded"),
            OrderError::Unavailable(cause) => write!(f, "unavailable: {cause}"),
            OrderError::Conflict => f.write_str("an order with this reference exists"),
            OrderError::NotFound => f.write_str("no such order"),
            OrderError::Invalid(reason) => write!(f, "invalid request: {reason}"),
            OrderError::Db(error) => write!(f, "database error: {error}"),
        }
    }
}

impl std::error::Error for OrderError {}

impl From<CarrierError> for OrderError {
    fn from(err: CarrierError) -> OrderError {
        OrderError::Unavailable(err.to_string())
    }
}

/// Whether the database did not answer.
pub(crate) fn is_failure(err: &sqlx::Error) -> bool {
    match err {
        sqlx::Error::Database(answer) => {
            let class = answer.code().and_then(|code| code.get(..2).map(str::to_owned));
            matches!(class.as_deref(), Some("08" | "53" | "57" | "58"))
        }
        sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => false,
        _ => true,
    }
}

impl From<sqlx::Error> for OrderError {
    fn from(err: sqlx::Error) -> OrderError {
        match &err {
            err if is_failure(err) => OrderError::Unavailable(err.to_string()),
            sqlx::Error::Database(answer) if answer.is_unique_violation() => OrderError::Conflict,
            sqlx::Error::Database(answer) => OrderError::Db(answer.message().to_owned()),
            _ => OrderError::Db(err.to_string()),
        }
    }
}
