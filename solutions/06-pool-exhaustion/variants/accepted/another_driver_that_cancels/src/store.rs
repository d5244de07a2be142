//! The statements.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::order::{NewOrder, Order, OrderError, OrderId, Search, SearchBy};

pub async fn get(db: &Client, id: OrderId) -> Result<Order, OrderError> {
    let sql = "SELECT id, reference, customer, sku, quantity, total_cents FROM orders WHERE id = $1";
    let rows = db.query_typed(sql, &[(&id.0, Type::INT8)]).await?;
    rows.first().map(order).ok_or(OrderError::NotFound)
}

pub async fn search(db: &Client, search: &Search) -> Result<Vec<Order>, OrderError> {
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
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&search.value, Type::TEXT), (&search.limit, Type::INT8)];
    Ok(db.query_typed(sql, &parameters).await?.iter().map(order).collect())
}

/// In one transaction.
pub async fn insert(db: &Client, order: &NewOrder, shipping_cents: i64) -> Result<OrderId, OrderError> {
    db.batch_execute("BEGIN").await?;
    let inserted = insert_both(db, order, shipping_cents).await;
    match &inserted {
        Ok(_) => db.batch_execute("COMMIT").await?,
        Err(_) => db.batch_execute("ROLLBACK").await?,
    }
    inserted
}

async fn insert_both(db: &Client, order: &NewOrder, shipping_cents: i64) -> Result<OrderId, OrderError> {
    let total = order.unit_cents * order.quantity + shipping_cents;
    let rows = db
        .query_typed(
            "INSERT INTO orders (reference, customer, sku, quantity, total_cents)
             VALUES ($1, $2, $3, $4, $5)
             RETURNING id",
            &[
                (&order.reference, Type::TEXT),
                (&order.customer, Type::TEXT),
                (&order.sku, Type::TEXT),
                (&order.quantity, Type::INT8),
                (&total, Type::INT8),
            ],
        )
        .await?;
    let id: i64 = rows.first().ok_or(OrderError::NotFound)?.get(0);
    let sql = "INSERT INTO order_events (order_id, kind) VALUES ($1, 'placed')";
    db.query_typed(sql, &[(&id, Type::INT8)]).await?;
    Ok(OrderId(id))
}

fn order(row: &Row) -> Order {
    Order {
        id: row.get(0),
        reference: row.get(1),
        customer: row.get(2),
        sku: row.get(3),
        quantity: row.get(4),
        total_cents: row.get(5),
    }
}
