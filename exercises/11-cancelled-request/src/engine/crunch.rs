//! The calculation: one step for each line, each about a millisecond of CPU.

use std::hint::black_box;
use std::sync::Arc;

use super::probe::{Probe, Seen};

const ROUNDS_PER_STEP: u64 = 300_000;

/// A line as it comes from the warehouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    pub line: i64,
    pub units: i64,
}

/// A line of the finished report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub line: i64,
    pub cents: i64,
}

/// A calculation under way.
#[derive(Debug)]
pub struct St {
    report: String,
    lines: std::vec::IntoIter<Line>,
    unit_cents: i64,
    rows: Vec<Row>,
    probe: Arc<Probe>,
}

impl St {
    pub fn new(report: &str, lines: Vec<Line>, unit_cents: i64, probe: Arc<Probe>) -> St {
        St {
            report: report.to_owned(),
            rows: Vec::with_capacity(lines.len()),
            lines: lines.into_iter(),
            unit_cents,
            probe,
        }
    }

    /// The rows that are finished.
    pub fn rows(mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }
}

impl Drop for St {
    fn drop(&mut self) {
        self.probe.see(Seen::End { report: &self.report });
    }
}

/// Calculates the next line; `false` when there is none.
pub fn step(st: &mut St, probe: &Probe) -> bool {
    let Some(Line { line, units }) = st.lines.next() else {
        return false;
    };
    probe.see(Seen::Step { report: &st.report });
    let mut noise = units as u64;
    for round in 0..ROUNDS_PER_STEP {
        noise = black_box(noise.rotate_left(5) ^ round);
    }
    black_box(noise);
    st.rows.push(Row {
        line,
        cents: units * st.unit_cents,
    });
    true
}
