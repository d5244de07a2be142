//! The statements.

use crate::order::{NewOrder, Order, OrderId, Search, SearchBy};
use crate::session::{Session, in_time};

pub async fn get(db: &mut Session, id: OrderId) -> sqlx::Result<Order> {
    let query =
        sqlx::query_as("SELECT id, reference, customer, sku, quantity, total_cents FROM orders WHERE id = $1")
            .bind(id.0)
            .persistent(db.persistent());
    in_time(db.deadline, query.fetch_one(&mut **db)).await
}

pub async fn search(db: &mut Session, search: &Search) -> sqlx::Result<Vec<Order>> {
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
    let query = sqlx::query_as(sql)
        .bind(&search.value)
        .bind(search.limit)
        .persistent(db.persistent());
    in_time(db.deadline, query.fetch_all(&mut **db)).await
}

pub async fn insert(db: &mut Session, order: &NewOrder, shipping_cents: i64) -> sqlx::Result<OrderId> {
    let query = sqlx::query_scalar(
        "INSERT INTO orders (reference, customer, sku, quantity, total_cents)
         VALUES ($1, $2, $3, $4, $5)
         RETURNING id",
    )
    .bind(&order.reference)
    .bind(&order.customer)
    .bind(&order.sku)
    .bind(order.quantity)
    .bind(order.unit_cents * order.quantity + shipping_cents)
    .persistent(db.persistent());
    let id: i64 = in_time(db.deadline, query.fetch_one(&mut **db)).await?;
    let query = sqlx::query("INSERT INTO order_events (order_id, kind) VALUES ($1, 'placed')")
        .bind(id)
        .persistent(db.persistent());
    in_time(db.deadline, query.execute(&mut **db)).await?;
    Ok(OrderId(id))
}
