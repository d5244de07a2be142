//! What `render`'s users do: documents of many tenants, each with the body that it must have, worked out by hand.

use std::panic::resume_unwind;
use std::sync::Arc;

use crate::subject::{Live, Req, Row};

/// A document, and every byte that its customer may see.
#[derive(Debug)]
pub struct Doc {
    pub tenant: usize,
    pub req: Req,
    pub body: Vec<u8>,
}

/// The shortest body that [`doc`] makes.
pub const SHORTEST: usize = 200;

/// What a planted panic carries; it does not go through the panic hook, so nothing is printed or allocated for it.
#[derive(Debug)]
pub struct Planted;

/// What a failing look-up says.
pub const OFFLINE: &str = "the warehouse is offline";

/// How the look-up of a document's value fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Refuses,
    Panics,
}

/// In every text of the tenant's documents, and in nobody else's.
pub fn mark(tenant: usize) -> String {
    format!("tenant-{tenant:04}.")
}

/// A document whose body has exactly `len` bytes, full of its tenant's mark.
pub fn doc(tenant: usize, len: usize) -> Arc<Doc> {
    let stock = tenant as u64;
    let req = filled(tenant, len, vec![Live::new("stock", move || Ok(stock))], &[stock]);
    let body = body(&req, &[stock]);
    debug_assert_eq!(body.len(), len);
    Arc::new(Doc { tenant, req, body })
}

/// A document that fails at its end, when `len` bytes are nearly written. Its body is what may have been sent by then.
pub fn failing(tenant: usize, len: usize, fault: Fault) -> Arc<Doc> {
    let live = Live::new("stock", move || match fault {
        Fault::Refuses => Err(OFFLINE.to_owned()),
        Fault::Panics => resume_unwind(Box::new(Planted)),
    });
    let req = filled(tenant, len, vec![live], &[0]);
    let mut body = body(&req, &[0]);
    body.truncate(body.len() - end(&req, &[0]).len());
    Arc::new(Doc { tenant, req, body })
}

/// A document with values of its own; `values` is what they are going to be.
pub fn with_live(tenant: usize, len: usize, live: Vec<Live>, values: &[u64]) -> Arc<Doc> {
    let req = filled(tenant, len, live, values);
    let body = body(&req, values);
    Arc::new(Doc { tenant, req, body })
}

/// A document of the caller's own making, without live values.
pub fn plain(tenant: usize, rows: Vec<Row>) -> Arc<Doc> {
    let req = Req {
        tenant: mark(tenant),
        id: u64::MAX - tenant as u64,
        rows,
        live: Vec::new(),
    };
    let body = body(&req, &[]);
    Arc::new(Doc { tenant, req, body })
}

fn filled(tenant: usize, len: usize, live: Vec<Live>, values: &[u64]) -> Req {
    let rows = (len / 150).clamp(1, 6);
    let mark = mark(tenant);
    let mut req = Req {
        id: 1_000_000 + tenant as u64,
        rows: (0..rows)
            .map(|n| Row {
                sku: format!("sku-{n}"),
                text: mark.clone(),
                qty: 2,
                price_cents: 1005,
            })
            .collect(),
        live,
        tenant: mark.clone(),
    };
    let short = body(&req, values).len();
    assert!(
        len >= short,
        "a body of {len} bytes is too short: {short} are needed"
    );
    let padding = mark.as_bytes().iter().cycle().take(len - short);
    req.rows[rows - 1]
        .text
        .extend(padding.map(|byte| char::from(*byte)));
    req
}

/// The contract's body, written down once more and in another way than the subject's.
pub fn body(req: &Req, values: &[u64]) -> Vec<u8> {
    let lines: Vec<String> = req
        .rows
        .iter()
        .map(|row| {
            format!(
                r#"{{"sku":{},"text":{},"qty":{},"price":"{}"}}"#,
                quoted(&row.sku),
                quoted(&row.text),
                row.qty,
                money(row.price_cents)
            )
        })
        .collect();
    let mut body = format!(
        r#"{{"tenant":{},"id":{},"rows":[{}],"live":{{"#,
        quoted(&req.tenant),
        req.id,
        lines.join(",")
    );
    for (n, (live, _)) in req.live.iter().zip(values).enumerate() {
        body.push_str(if n > 0 { "," } else { "" });
        body.push_str(&quoted(live.name()));
        body.push(':');
        if n + 1 < values.len() {
            body.push_str(&values[n].to_string());
        }
    }
    body.push_str(&end(req, values));
    body.into_bytes()
}

/// From the last value on.
fn end(req: &Req, values: &[u64]) -> String {
    let total = req
        .rows
        .iter()
        .map(|row| u64::from(row.qty) * row.price_cents)
        .sum();
    let value = values.last().map_or(String::new(), u64::to_string);
    format!("{value}}},\"total\":\"{}\"}}\n", money(total))
}

fn money(cents: u64) -> String {
    let (whole, part) = (cents / 100, cents % 100);
    format!("{whole}.{}{part}", if part < 10 { "0" } else { "" })
}

/// Escapes as the contract lists them.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            control if control < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
