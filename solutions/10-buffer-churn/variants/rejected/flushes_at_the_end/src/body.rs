//! The bytes of a document. Customers compare them with signatures: not one may differ.
//!
//! They are pulled, as many as there is room for: a body is never there as a whole, and may be paused anywhere.

use std::fmt::{self, Write};

use crate::{RenderError, Req};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// What is still to come of a body.
pub(crate) struct Body<'a> {
    req: &'a Req,
    next: Next,
    /// Comes first.
    short: Short,
    /// Comes then, escaped.
    text: &'a [u8],
    total: u128,
}

/// What comes when there is nothing left of `short` and `text`.
enum Next {
    Tenant,
    Id,
    Sku(usize),
    Text(usize),
    Price(usize),
    Name(usize),
    Value(usize),
    Total,
    Nothing,
}

impl<'a> Body<'a> {
    pub(crate) fn of(req: &'a Req) -> Body<'a> {
        Body {
            req,
            next: Next::Tenant,
            short: Short::default(),
            text: &[],
            total: 0,
        }
    }

    /// Fills `piece` up to `room` bytes. It is only less at the body's end.
    pub(crate) fn fill(&mut self, piece: &mut Vec<u8>, room: usize) -> Result<(), RenderError> {
        while piece.len() < room {
            let left = room - piece.len();
            if !self.short.is_empty() {
                piece.extend_from_slice(self.short.take(left));
            } else if !self.text.is_empty() {
                let plain = self.text.iter().take(left).position(|&byte| needs_escape(byte));
                let (plain, rest) = self.text.split_at(plain.unwrap_or(left.min(self.text.len())));
                piece.extend_from_slice(plain);
                self.text = rest;
                if plain.len() < left
                    && let Some((&byte, rest)) = rest.split_first()
                {
                    self.text = rest;
                    self.short.escape(byte);
                }
            } else if !self.go_on()? {
                break;
            }
        }
        Ok(())
    }

    /// Whether there is more.
    fn go_on(&mut self) -> Result<bool, RenderError> {
        let req = self.req;
        self.next = match self.next {
            Next::Tenant => {
                self.text = req.tenant.as_bytes();
                self.short.set(format_args!("{{\"tenant\":\""));
                Next::Id
            }
            Next::Id => {
                self.short.set(format_args!("\",\"id\":{},\"rows\":[", req.id));
                Next::Sku(0)
            }
            Next::Sku(n) => match req.rows.get(n) {
                Some(row) => {
                    self.text = row.sku.as_bytes();
                    self.short.set(format_args!("{}{{\"sku\":\"", comma(n)));
                    Next::Text(n)
                }
                None => {
                    self.short.set(format_args!("],\"live\":{{"));
                    Next::Name(0)
                }
            },
            Next::Text(n) => {
                self.text = req.rows[n].text.as_bytes();
                self.short.set(format_args!("\",\"text\":\""));
                Next::Price(n)
            }
            Next::Price(n) => {
                let row = &req.rows[n];
                let price = Money(row.price_cents.into());
                self.total += u128::from(row.qty) * u128::from(row.price_cents);
                self.short
                    .set(format_args!("\",\"qty\":{},\"price\":\"{price}\"}}", row.qty));
                Next::Sku(n + 1)
            }
            Next::Name(n) => match req.live.get(n) {
                Some(live) => {
                    self.text = live.name().as_bytes();
                    self.short.set(format_args!("{}\"", comma(n)));
                    Next::Value(n)
                }
                None => Next::Total,
            },
            Next::Value(n) => {
                let value = req.live[n].read().map_err(RenderError::Value)?;
                self.short.set(format_args!("\":{value}"));
                Next::Name(n + 1)
            }
            Next::Total => {
                let total = Money(self.total);
                self.short.set(format_args!("}},\"total\":\"{total}\"}}\n"));
                Next::Nothing
            }
            Next::Nothing => return Ok(false),
        };
        Ok(true)
    }
}

fn comma(n: usize) -> &'static str {
    if n > 0 { "," } else { "" }
}

fn needs_escape(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

struct Money(u128);

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// A few bytes. The longest are the total: 57.
struct Short {
    bytes: [u8; 96],
    taken: usize,
    len: usize,
}

impl Default for Short {
    fn default() -> Short {
        Short {
            bytes: [0; 96],
            taken: 0,
            len: 0,
        }
    }
}

impl Short {
    fn is_empty(&self) -> bool {
        self.taken == self.len
    }

    fn take(&mut self, most: usize) -> &[u8] {
        let from = self.taken;
        self.taken = self.len.min(from + most);
        &self.bytes[from..self.taken]
    }

    fn set(&mut self, text: fmt::Arguments<'_>) {
        self.taken = 0;
        self.len = 0;
        self.write_fmt(text).expect("there is room for it");
    }

    fn escape(&mut self, byte: u8) {
        let letter = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => {
                let [high, low] = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
                return self.put(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        };
        self.put(&[b'\\', letter]);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.taken = 0;
        self.len = bytes.len();
        self.bytes[..bytes.len()].copy_from_slice(bytes);
    }
}

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
