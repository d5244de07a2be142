//! The statements.

use sqlx::PgConnection;

use crate::order::{NewOrder, Order, OrderId, Search, SearchBy};

pub async fn get(conn: &mut PgConnection, id: OrderId) -> sqlx::Result<Order> {
    sqlx::query_as("SELECT id, reference, customer, sku, quantity, total_cents FROM orders WHERE id = $1")
        .bind(id.0)
        .fetch_one(conn)
        .await
}

pub async fn search(conn: &mut PgConnection, search: &Search) -> sqlx::Result<Vec<Order>> {
    let sql = match search.by {
        SearchBy::Customer => {
            "SELECT id, reference, customer, sku, quantity, total_cents FROM orders
             WHERE customer = $1 ORDER BY id DESC LIMIT $2"
        }
        SearchBy::Sku => {
            "SELECT id, reference, customer, sku, quantity, total_cents FROM orders
             WHERE sku = $1 ORDER BY id DESC LIMIT $2"
        }
        SearchBy::Reference => {
            "SELECT id, reference, customer, sku, quantity, total_cents FROM orders
             WHERE reference = $1 ORDER BY id DESC LIMIT $2"
        }
    };
    sqlx::query_as(sql)
        .bind(&search.value)
        .bind(search.limit)
        .fetch_all(conn)
        .await
}

/// Stores an order without its shipping.
pub async fn insert(conn: &mut PgConnection, order: &NewOrder) -> sqlx::Result<OrderId> {
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO orders (reference, customer, sku, quantity, total_cents)
         VALUES ($1, $2, $3, $4, $5)
         RETURNING id",
    )
    .bind(&order.reference)
    .bind(&order.customer)
    .bind(&order.sku)
    .bind(order.quantity)
    .bind(order.unit_cents * order.quantity)
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query("INSERT INTO order_events (order_id, kind) VALUES ($1, 'placed')")
        .bind(id)
        .execute(conn)
        .await?;
    Ok(OrderId(id))
}

pub async fn add_shipping(conn: &mut PgConnection, id: OrderId, cents: i64) -> sqlx::Result<()> {
    sqlx::query("UPDATE orders SET total_cents = total_cents + $2 WHERE id = $1")
        .bind(id.0)
        .bind(cents)
        .execute(conn)
        .await?;
    Ok(())
}
