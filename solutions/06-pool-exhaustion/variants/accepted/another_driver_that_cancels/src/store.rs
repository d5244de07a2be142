//! The statements.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::order::{NewOrder, Order, OrderError, OrderId, Search, SearchBy};
use crate::session::Session;

/// Makes a transaction of the work, where it has to have a limit.
async fn limited<T>(
    db: &Session,
    work: impl Future<Output = Result<T, OrderError>>,
) -> Result<T, OrderError> {
    match db.limit() {
        Some(limit) => in_transaction(db, limit.as_millis(), work).await,
        None => work.await,
    }
}

/// `limit_ms` is 0 where the server needs none.
async fn in_transaction<T>(
    db: &Client,
    limit_ms: u128,
    work: impl Future<Output = Result<T, OrderError>>,
) -> Result<T, OrderError> {
    let begin = match limit_ms {
        0 => "BEGIN".to_owned(),
        ms => format!("BEGIN; SET LOCAL statement_timeout = {ms}"),
    };
    db.batch_execute(&begin).await?;
    let done = work.await;
    let verb = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    db.batch_execute(verb).await?;
    done
}

pub async fn get(db: &Session, id: OrderId) -> Result<Order, OrderError> {
    limited(db, get_one(db, id)).await
}

async fn get_one(db: &Client, id: OrderId) -> Result<Order, OrderError> {
    let sql = "SELECT id, reference, customer, sku, quantity, total_cents FROM orders WHERE id = $1";
    let rows = db.query_typed(sql, &[(&id.0, Type::INT8)]).await?;
    rows.first().map(order).ok_or(OrderError::NotFound)
}

pub async fn search(db: &Session, search: &Search) -> Result<Vec<Order>, OrderError> {
    limited(db, search_all(db, search)).await
}

async fn search_all(db: &Client, search: &Search) -> Result<Vec<Order>, OrderError> {
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
    Ok(db
        .query_typed(sql, &parameters)
        .await?
        .iter()
        .map(order)
        .collect())
}

/// In one transaction.
pub async fn insert(db: &Session, order: &NewOrder, shipping_cents: i64) -> Result<OrderId, OrderError> {
    let limit_ms = db.limit().map_or(0, |limit| limit.as_millis());
    in_transaction(db, limit_ms, insert_both(db, order, shipping_cents)).await
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
