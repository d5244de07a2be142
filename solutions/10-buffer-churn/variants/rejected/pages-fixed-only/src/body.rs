//! The bytes of a document. Customers compare them with signatures: not one may differ.

use std::io::Write;

use serde::Serialize;

use crate::{RenderError, Req, Row};

#[derive(Serialize)]
struct Line<'a> {
    sku: &'a str,
    text: &'a str,
    qty: u32,
    price: String,
}

impl<'a> From<&'a Row> for Line<'a> {
    fn from(row: &'a Row) -> Line<'a> {
        Line {
            sku: &row.sku,
            text: &row.text,
            qty: row.qty,
            price: money(row.price_cents),
        }
    }
}

/// Writes the body of `req` to `out`.
pub(crate) fn write(req: &Req, out: &mut impl Write) -> Result<(), RenderError> {
    let tenant = serde_json::to_string(&req.tenant)?;
    let head = format!("{{\"tenant\":{tenant},\"id\":{},\"rows\":[", req.id);
    out.write_all(head.as_bytes())?;
    for (n, row) in req.rows.iter().enumerate() {
        if n > 0 {
            out.write_all(b",")?;
        }
        let line = serde_json::to_vec(&Line::from(row))?;
        out.write_all(&line)?;
    }
    out.write_all(b"],\"live\":{")?;
    for (n, live) in req.live.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        let name = serde_json::to_string(live.name())?;
        let value = serde_json::to_string(live)?;
        out.write_all(format!("{comma}{name}:{value}").as_bytes())?;
    }
    let tail = format!("}},\"total\":\"{}\"}}\n", money(total(&req.rows)));
    out.write_all(tail.as_bytes())?;
    Ok(())
}

fn total(rows: &[Row]) -> u64 {
    rows.iter().map(|row| u64::from(row.qty) * row.price_cents).sum()
}

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}
