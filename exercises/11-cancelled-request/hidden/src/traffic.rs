//! What account managers ask for.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};

/// What the price service says, in every market.
pub const UNIT_CENTS: i64 = 250;

/// The warehouse delivers ten or more.
const LINES_PER_S: f64 = 20.0;

/// One report, as its client orders it.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub id: String,
    pub market: String,
    pub lines: i64,
    pub secs: f64,
    pub deadline_ms: Option<u64>,
    /// Corrections by hand: line and cents.
    pub adjustments: Vec<(i64, i64)>,
}

impl Wanted {
    /// A report that the warehouse has at once.
    pub fn new(id: impl Into<String>, lines: i64) -> Wanted {
        Wanted {
            id: id.into(),
            market: "eu".to_owned(),
            lines,
            secs: 0.0,
            deadline_ms: None,
            adjustments: vec![(1, 17), (lines, -5)],
        }
    }

    /// A report for which the warehouse takes that long, with as many lines as the contract wants for that.
    pub fn slow(id: impl Into<String>, secs: f64) -> Wanted {
        Wanted {
            secs,
            ..Wanted::new(id, (secs * LINES_PER_S).ceil() as i64)
        }
    }

    pub fn in_market(self, market: &str) -> Wanted {
        Wanted {
            market: market.to_owned(),
            ..self
        }
    }

    pub fn by(self, deadline_ms: u64) -> Wanted {
        Wanted {
            deadline_ms: Some(deadline_ms),
            ..self
        }
    }

    /// With an upload of more than that many bytes, which change nothing.
    pub fn with_upload(mut self, len: usize) -> Wanted {
        while self.body().len() <= len {
            let line = self.lines;
            self.adjustments
                .extend((0..500).flat_map(|_| [(line, 1_000_000), (line, -1_000_000)]));
        }
        self
    }

    pub fn path(&self) -> String {
        let Wanted {
            id,
            market,
            lines,
            secs,
            ..
        } = self;
        format!("/reports?id={id}&market={market}&lines={lines}&secs={secs}")
    }

    pub fn body(&self) -> String {
        let mut body = String::from("[");
        for (n, (line, cents)) in self.adjustments.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(body, r#"{comma}{{"line":{line},"cents":{cents}}}"#);
        }
        body.push(']');
        body
    }

    /// The request as it goes over the wire.
    pub fn request(&self) -> Vec<u8> {
        let body = self.body();
        let mut request = format!("POST {} HTTP/1.1\r\nHost: reports\r\n", self.path());
        if let Some(ms) = self.deadline_ms {
            let _ = write!(request, "X-Deadline-Ms: {ms}\r\n");
        }
        let _ = write!(
            request,
            "Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        request.into_bytes()
    }

    /// The comment by which operators know whose statement it is.
    pub fn marker(&self) -> String {
        format!("/*report:{}*/", self.id)
    }

    pub fn total_cents(&self) -> i64 {
        let factor = FACTOR.load(Ordering::Relaxed);
        let units = (1..=self.lines).map(|line| line * factor % 100 + 1);
        let adjusted = self.adjustments.iter().map(|(_, cents)| cents);
        units.sum::<i64>() * UNIT_CENTS + adjusted.sum::<i64>()
    }
}

/// What tells one warehouse from another; the provided one's until a check stocks its own.
static FACTOR: AtomicI64 = AtomicI64::new(7);

/// The warehouse holds `line * factor % 100 + 1` units of each line from now on: one warehouse in a process.
pub fn stock(factor: i64) {
    FACTOR.store(factor, Ordering::Relaxed);
}

/// The start page.
pub const QUICK: &[u8] = b"GET /quick HTTP/1.1\r\nHost: reports\r\nConnection: close\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_large_and_changes_nothing() {
        let small = Wanted::new("r-1", 3);
        let large = small.clone().with_upload(200_000);
        assert!((200_000..1_000_000).contains(&large.body().len()));
        assert_eq!(large.total_cents(), small.total_cents());
        assert_eq!(small.total_cents(), 45 * UNIT_CENTS + 12);
    }
}
