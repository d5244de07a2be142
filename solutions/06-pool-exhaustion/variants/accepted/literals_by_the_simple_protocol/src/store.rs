//! The statements.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, Row};

use crate::order::{NewOrder, Order, OrderId, Search, SearchBy};
use crate::session::Session;

const COLUMNS: &str = "id, reference, customer, sku, quantity, total_cents";

pub async fn get(db: &mut Session, id: OrderId) -> sqlx::Result<Order> {
    let sql = format!("SELECT {COLUMNS} FROM orders WHERE id = {}", id.0);
    let rows = rows(db, sql).await?;
    rows.first().map_or(Err(sqlx::Error::RowNotFound), Order::from_row)
}

pub async fn search(db: &mut Session, search: &Search) -> sqlx::Result<Vec<Order>> {
    let column = match search.by {
        SearchBy::Customer => "customer",
        SearchBy::Sku => "sku",
        SearchBy::Reference => "reference",
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM orders WHERE {column} = {} ORDER BY id DESC LIMIT {}",
        literal(&search.value),
        search.limit
    );
    rows(db, sql).await?.iter().map(Order::from_row).collect()
}

pub async fn insert(db: &mut Session, order: &NewOrder, shipping_cents: i64) -> sqlx::Result<OrderId> {
    let sql = format!(
        "INSERT INTO orders (reference, customer, sku, quantity, total_cents)
         VALUES ({}, {}, {}, {}, {}) RETURNING id",
        literal(&order.reference),
        literal(&order.customer),
        literal(&order.sku),
        order.quantity,
        order.unit_cents * order.quantity + shipping_cents
    );
    let rows = rows(db, sql).await?;
    let id: i64 = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get("id")?;
    let event = format!("INSERT INTO order_events (order_id, kind) VALUES ({id}, 'placed')");
    self::rows(db, event).await?;
    Ok(OrderId(id))
}

async fn rows(db: &mut Session, sql: String) -> sqlx::Result<Vec<PgRow>> {
    sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut **db).await
}

/// Backslashes mean themselves: `standard_conforming_strings` is on, and the `E` form is not used.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
