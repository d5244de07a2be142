//! The bytes of a document. Customers compare them with signatures: not one may differ.

use std::fmt;
use std::io::Write;

use serde::{Serialize, Serializer};

use crate::{Live, RenderError, Req, Row};

/// A document as it is written. Everything is borrowed, and each part is written where it belongs: nothing is made only to
/// be copied.
#[derive(Serialize)]
struct Document<'a> {
    tenant: &'a str,
    id: u64,
    #[serde(serialize_with = "lines")]
    rows: &'a [Row],
    #[serde(serialize_with = "by_name")]
    live: &'a [Live],
    total: Money,
}

#[derive(Serialize)]
struct Line<'a> {
    sku: &'a str,
    text: &'a str,
    qty: u32,
    price: Money,
}

struct Money(u64);

/// Writes the body of `req` to `out`.
pub(crate) fn write(req: &Req, out: &mut impl Write) -> Result<(), RenderError> {
    let document = Document {
        tenant: &req.tenant,
        id: req.id,
        rows: &req.rows,
        live: &req.live,
        total: Money(total(&req.rows)),
    };
    serde_json::to_writer(&mut *out, &document)?;
    out.write_all(b"\n")?;
    Ok(())
}

fn lines<S: Serializer>(rows: &[Row], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rows.iter().map(|row| Line {
        sku: &row.sku,
        text: &row.text,
        qty: row.qty,
        price: Money(row.price_cents),
    }))
}

fn by_name<S: Serializer>(live: &[Live], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(live.iter().map(|live| (live.name(), live.read().ok())))
}

fn total(rows: &[Row]) -> u64 {
    rows.iter().map(|row| u64::from(row.qty) * row.price_cents).sum()
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Money {
    /// Straight into the body, without a string of its own.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
