//! Counts events per source.

use std::collections::HashMap;

#[derive(Default)]
pub struct Counter {
    counts: HashMap<String, u64>,
    last: Option<String>,
}

impl Counter {
    pub fn record(&mut self, source: &str) {
        self.last = Some(format!("{source} was seen"));
        self.counts
            .entry(source.to_owned())
            .and_modify(|count| *count += 1)
            .or_default();
    }

    pub fn count(&self, source: &str) -> u64 {
        self.counts.get(source).copied().unwrap_or_default()
    }

    pub fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }
}
