//! The bytes of a document. Customers compare them with signatures: not one may differ.

use std::fmt;
use std::io::Write;

use crate::{RenderError, Req, Row};

/// Appends the body of `req` to `out`, and asks for no memory but `out`'s.
pub(crate) fn write(req: &Req, out: &mut Vec<u8>) -> Result<(), RenderError> {
    out.extend_from_slice(b"{\"tenant\":");
    string(&req.tenant, out)?;
    write!(out, ",\"id\":{},\"rows\":[", req.id)?;
    for (n, row) in req.rows.iter().enumerate() {
        comma(n, out);
        out.extend_from_slice(b"{\"sku\":");
        string(&row.sku, out)?;
        out.extend_from_slice(b",\"text\":");
        string(&row.text, out)?;
        let price = Money(row.price_cents.into());
        write!(out, ",\"qty\":{},\"price\":\"{price}\"}}", row.qty)?;
    }
    out.extend_from_slice(b"],\"live\":{");
    for (n, live) in req.live.iter().enumerate() {
        comma(n, out);
        string(live.name(), out)?;
        let value = live.read().map_err(RenderError::Value)?;
        write!(out, ":{value}")?;
    }
    writeln!(out, "}},\"total\":\"{}\"}}", Money(total(&req.rows)))?;
    Ok(())
}

fn comma(n: usize, out: &mut Vec<u8>) {
    if n > 0 {
        out.push(b',');
    }
}

fn string(text: &str, out: &mut Vec<u8>) -> Result<(), RenderError> {
    Ok(serde_json::to_writer(out, text)?)
}

fn total(rows: &[Row]) -> u128 {
    rows.iter()
        .map(|row| u128::from(row.qty) * u128::from(row.price_cents))
        .sum()
}

struct Money(u128);

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}
