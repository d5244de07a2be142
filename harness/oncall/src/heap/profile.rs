//! The records as a profile, now or compared with an earlier one.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::record::{Site, sites};
use crate::profile::{Profile, Stack};
use crate::symbols::{Symbols, is_ours};

static SYMBOLS: Mutex<Option<Symbols>> = Mutex::new(None);

/// The records of now; with `since`, what has been added to that.
///
/// `first` is the value that is shown first: `inuse_space` or `alloc_space`.
pub fn profile(since: &[Site], first: &'static str) -> Profile {
    of(sites(), since, first)
}

/// Earlier records.
pub fn profile_of(records: Vec<Site>, first: &'static str) -> Profile {
    of(records, &[], first)
}

fn of(records: Vec<Site>, since: &[Site], first: &'static str) -> Profile {
    let before: HashMap<&[usize], &Site> = since.iter().map(|site| (site.frames.as_slice(), site)).collect();
    let mut symbols = SYMBOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let symbols = symbols.get_or_insert_default();
    // All at once, so that the program's symbols are read once.
    symbols.of(records.iter().flat_map(|site| site.frames.iter().copied()));
    let stacks = records.into_iter().map(|now| {
        let mut values = values(&now);
        if let Some(before) = before.get(now.frames.as_slice()) {
            for (value, before) in values.iter_mut().zip(self::values(before)) {
                *value -= before;
            }
        }
        let mut places = symbols.of(now.frames.iter().copied());
        let own = places.iter().take_while(|place| is_ours(&place.function)).count();
        places.drain(..own);
        Stack { places, values }
    });
    Profile {
        values: vec![
            ("alloc_objects", "count"),
            ("alloc_space", "bytes"),
            ("inuse_objects", "count"),
            ("inuse_space", "bytes"),
        ],
        first,
        period: ("space", "bytes", super::EVERY_BYTES as i64),
        duration_ns: 0,
        stacks: stacks.collect(),
    }
}

fn values(site: &Site) -> Vec<i64> {
    [
        site.asked_blocks,
        site.asked_bytes,
        site.held_blocks,
        site.held_bytes,
    ]
    .iter()
    .map(|value| value.round() as i64)
    .collect()
}
