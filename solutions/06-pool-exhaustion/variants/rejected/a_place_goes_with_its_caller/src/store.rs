//! The statements: each request is a single message of the simple protocol, with the values in it. The server makes one
//! transaction of it, which ends with the answer: nothing is left behind, neither a transaction nor a statement.

use std::fmt::Write;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Row};

use crate::order::{NewOrder, Order, OrderId, Search, SearchBy};

const COLUMNS: &str = "id, reference, customer, sku, quantity, total_cents";

pub fn get(id: OrderId) -> String {
    format!("SELECT {COLUMNS} FROM orders WHERE id = '{}'::bigint", id.0)
}

pub fn search(search: &Search) -> String {
    let column = match search.by {
        SearchBy::Customer => "customer",
        SearchBy::Sku => "sku",
        SearchBy::Reference => "reference",
    };
    format!(
        "SELECT {COLUMNS} FROM orders WHERE {column} = {} ORDER BY id DESC LIMIT {}",
        text(&search.value),
        search.limit
    )
}

/// Stores an order and its event.
pub fn insert(order: &NewOrder, total_cents: i64) -> String {
    format!(
        "WITH placed AS (
             INSERT INTO orders (reference, customer, sku, quantity, total_cents)
             VALUES ({}, {}, {}, '{}'::bigint, '{total_cents}'::bigint)
             RETURNING id
         ), event AS (
             INSERT INTO order_events (order_id, kind) SELECT id, 'placed' FROM placed
         )
         SELECT id FROM placed",
        text(&order.reference),
        text(&order.customer),
        text(&order.sku),
        order.quantity
    )
}

pub fn order(row: &PgRow) -> sqlx::Result<Order> {
    Order::from_row(row)
}

pub fn id(row: &PgRow) -> sqlx::Result<OrderId> {
    row.try_get("id").map(OrderId)
}

/// The server ends it by itself once `left` is over.
pub async fn run(conn: &mut PgConnection, sql: &str, left: Duration) -> sqlx::Result<Vec<PgRow>> {
    let millis = left.as_millis().clamp(1, i32::MAX as u128);
    let message = format!("SET LOCAL statement_timeout = {millis}; {sql}");
    sqlx::raw_sql(AssertSqlSafe(message)).fetch_all(conn).await
}

/// Whatever is in it, and however the server reads quotes.
fn text(value: &str) -> String {
    let mut literal = String::from("convert_from(decode('");
    for byte in value.bytes() {
        let _ = write!(literal, "{byte:02x}");
    }
    literal.push_str("', 'hex'), 'UTF8')");
    literal
}
