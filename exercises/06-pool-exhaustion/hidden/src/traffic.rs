//! What shops ask for, and what the right answers are.
//!
//! The shop's orders are there before the service: [`SHOP`] of them, each different, some with names that are awkward to
//! put into SQL. A name is a customer's, a sku and a reference of different orders at once, so that an answer to another
//! question is never the right one by chance.

use harness::{Failure, ensure};

use crate::subject::{NewOrder, Order, OrderError, OrderId, Orders, Search, SearchBy};

/// Orders that are there from the start, numbered from 1.
pub const SHOP: i64 = 60;

/// What the flat rate adds.
pub const FLAT_CENTS: i64 = 490;

const NAMES: [&str; 12] = [
    "sencha-100",
    "harbour-tea",
    "o'brien & sons",
    "back\\slash",
    "lantern-books",
    "$1",
    "'; --",
    "quayside",
    "\u{fc}ber \u{2615}",
    "\"quoted\"",
    "100%_off",
    "e'\\x27",
];

/// The name that `n` has in one role, different from role to role.
fn name(n: i64, role: i64) -> &'static str {
    let len = i64::try_from(NAMES.len()).unwrap_or(1);
    let place = n * (2 * role + 1) + 5 * role;
    NAMES[usize::try_from(place.rem_euclid(len)).unwrap_or(0)]
}

/// The shop's order `n`, from 1.
pub fn shop(n: i64) -> Order {
    Order {
        id: n,
        // The first few have names for references, the others numbers.
        reference: match usize::try_from(n - 1).ok().and_then(|place| NAMES.get(place)) {
            Some(name) => (*name).to_owned(),
            None => format!("shop-{n}"),
        },
        customer: name(n, 0).to_owned(),
        sku: name(n, 1).to_owned(),
        quantity: n % 9 + 1,
        total_cents: 1_000 + n,
    }
}

/// The statements that store the shop's orders.
pub fn shop_sql() -> String {
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let rows: Vec<String> = (1..=SHOP)
        .map(|n| {
            let order = shop(n);
            format!(
                "({}, {}, {}, {}, {})",
                literal(&order.reference),
                literal(&order.customer),
                literal(&order.sku),
                order.quantity,
                order.total_cents
            )
        })
        .collect();
    format!(
        "INSERT INTO orders (reference, customer, sku, quantity, total_cents) VALUES {}",
        rows.join(", ")
    )
}

/// A new order that no other one is like.
pub fn fresh(whose: &str, n: u64) -> NewOrder {
    NewOrder {
        reference: format!("{whose}-{n}"),
        customer: format!("customer o'{whose}-{n}"),
        sku: format!("sku-{whose}-{n}"),
        quantity: i64::try_from(n % 7).unwrap_or(0) + 1,
        unit_cents: i64::try_from(n % 100).unwrap_or(0) + 100,
    }
}

/// What is stored of it.
pub fn placed(id: OrderId, order: &NewOrder, shipping_cents: i64) -> Order {
    Order {
        id: id.0,
        reference: order.reference.clone(),
        customer: order.customer.clone(),
        sku: order.sku.clone(),
        quantity: order.quantity,
        total_cents: order.quantity * order.unit_cents + shipping_cents,
    }
}

/// One request with its right answer.
#[derive(Clone, Debug)]
pub enum Ask {
    /// An order of the shop's, by its number.
    Get(i64),
    /// The shop's orders; the value is a name.
    Search(SearchBy, &'static str),
    Place(NewOrder),
}

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Right,
    /// The answer in words.
    Wrong(String),
    Failed(String),
}

impl Ask {
    /// Requests of all kinds, by the generator; `whose` makes references unique.
    pub fn some(rng: &mut fastrand::Rng, whose: &str, n: usize) -> Vec<Ask> {
        let by = [SearchBy::Customer, SearchBy::Sku, SearchBy::Reference];
        (0..n)
            .map(|number| match rng.u32(..10) {
                0..=3 => Ask::Get(rng.i64(1..=SHOP)),
                4..=7 => Ask::Search(by[rng.usize(..by.len())], NAMES[rng.usize(..NAMES.len())]),
                _ => Ask::Place(fresh(whose, number as u64)),
            })
            .collect()
    }

    /// Asks, and compares the answer with what it should be. An order that was placed is read again.
    pub async fn put(&self, orders: &Orders) -> Told {
        match self {
            Ask::Get(n) => compared(orders.get(OrderId(*n)).await, &shop(*n)),
            Ask::Search(by, value) => {
                let search = Search {
                    by: *by,
                    value: (*value).to_owned(),
                    limit: 100,
                };
                compared(orders.search(search).await, &found(*by, value))
            }
            Ask::Place(order) => match orders.place(order.clone()).await {
                Ok(id) => compared(orders.get(id).await, &placed(id, order, FLAT_CENTS)),
                Err(err) => Told::Failed(format!("place: {err:?}")),
            },
        }
    }
}

fn found(by: SearchBy, value: &str) -> Vec<Order> {
    let of = |order: &Order| match by {
        SearchBy::Customer => order.customer == value,
        SearchBy::Sku => order.sku == value,
        SearchBy::Reference => order.reference == value,
    };
    (1..=SHOP).rev().map(shop).filter(of).collect()
}

fn compared<T: PartialEq + std::fmt::Debug>(answer: Result<T, OrderError>, right: &T) -> Told {
    match answer {
        Ok(answer) if answer == *right => Told::Right,
        Ok(answer) => Told::Wrong(format!("asked for {right:?}, was given {answer:?}")),
        Err(err) => Told::Failed(format!("{err:?}, asked for {right:?}")),
    }
}

/// The order `n` of the shop, and as it is stored.
pub fn is_shop_order(n: i64, answer: &Result<Order, OrderError>, when: &str) -> Result<(), Failure> {
    match answer {
        Ok(order) => {
            ensure!(
                *order == shop(n),
                "An answer has to be the answer to the request that gets it.",
                "{when}, order {n} came as {order:?}"
            );
            Ok(())
        }
        Err(err) => Err(Failure::new(format!(
            "{when}, a request for order {n} got {err:?}"
        ))),
    }
}
