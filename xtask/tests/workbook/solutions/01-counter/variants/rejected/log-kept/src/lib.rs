//! Counts events per source.

use std::collections::HashMap;

#[derive(Default)]
pub struct Counter {
    counts: HashMap<String, u64>,
    log: Vec<String>,
}

impl Counter {
    pub fn record(&mut self, source: &str) {
        self.log.push(format!("{source} was seen"));
        let count = self.counts.entry(source.to_owned()).or_default();
        if *count < u64::MAX {
            *count += 1;
        }
    }

    pub fn count(&self, source: &str) -> u64 {
        self.counts.get(source).copied().unwrap_or_default()
    }

    pub fn last(&self) -> Option<&str> {
        self.log.last().map(String::as_str)
    }
}
