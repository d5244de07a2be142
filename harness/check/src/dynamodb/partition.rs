//! Where keys live, and what their partitions have left: the physics that the servers of a grade lack.
//!
//! A partition key lives on one partition, whole. Which one is the table's business: a new key goes where there are fewest,
//! and between two windows keys move, the busiest first, so that the load is even, as DynamoDB's split for heat does it over
//! minutes. So what decides is how much one key takes, and never how a key's name happens to hash.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many partitions a table has.
pub const PARTITIONS: usize = 8;

/// What one partition may do in one window, in units. A window ends when the grader says so, and not by a clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    pub write_units: f64,
    pub read_units: f64,
}

/// What was charged in one window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Window {
    pub write_units: [f64; PARTITIONS],
    pub read_units: [f64; PARTITIONS],
    /// Requests refused, or parts of batches left out, because a partition had nothing left.
    pub throttled: [u64; PARTITIONS],
    /// Keys that were written or read.
    pub keys: usize,
}

impl Window {
    /// The busiest partition's share of all write units; 0 when nothing was written.
    pub fn busiest_write_share(&self) -> f64 {
        share(&self.write_units)
    }

    /// The busiest partition's share of all read units; 0 when nothing was read.
    pub fn busiest_read_share(&self) -> f64 {
        share(&self.read_units)
    }

    /// Write units by partition, for people: `[250, 0, 0, …]`.
    pub fn shown_writes(&self) -> String {
        let units: Vec<String> = self.write_units.iter().map(|units| units.to_string()).collect();
        format!("[{}]", units.join(", "))
    }
}

fn share(units: &[f64; PARTITIONS]) -> f64 {
    let all: f64 = units.iter().sum();
    let most = units.iter().copied().fold(0.0, f64::max);
    if all > 0.0 { most / all } else { 0.0 }
}

/// The partitions of one server, which its taps share.
#[derive(Debug, Clone, Default)]
pub(super) struct Partitions(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    limit: Option<Limit>,
    window: Window,
    keys: HashMap<String, Placed>,
}

#[derive(Debug, Default)]
struct Placed {
    partition: usize,
    /// Units in the current window.
    heat: f64,
    /// Units in earlier windows, each counting half of the one after it: a short window says little about a key.
    known: f64,
}

impl Partitions {
    /// From now on, until there is another; `None` is without limits.
    pub fn limit(&self, limit: Option<Limit>) {
        self.lock().limit = limit;
    }

    pub fn window(&self) -> Window {
        self.lock().window.clone()
    }

    /// Ends the window, and returns what was charged in it.
    pub fn tick(&self) -> Window {
        let mut state = self.lock();
        state.rebalance();
        std::mem::take(&mut state.window)
    }

    /// Charges what `needs` says, each a key and its write units, all of it or nothing. Reads (without write units) are let
    /// through as long as their partition has any read units left, since what they cost is known when they are answered.
    /// `false` when a partition had too little; then it is written down.
    pub fn admit(&self, needs: &[(&str, f64)]) -> bool {
        let mut state = self.lock();
        let mut wanted = [0.0; PARTITIONS];
        for (key, units) in needs {
            wanted[state.partition_of(key)] += units;
        }
        let short = needs.iter().map(|(key, units)| {
            let at = state.partition_of(key);
            let full = state.limit.is_some_and(|limit| match *units > 0.0 {
                true => state.window.write_units[at] + wanted[at] > limit.write_units,
                false => state.window.read_units[at] >= limit.read_units,
            });
            full.then_some(at)
        });
        let short: Vec<usize> = short.flatten().collect();
        if let Some(at) = short.first() {
            state.window.throttled[*at] += 1;
            return false;
        }
        for (key, units) in needs.iter().filter(|(_, units)| *units > 0.0) {
            let at = state.partition_of(key);
            state.window.write_units[at] += units;
            state.heat(key, *units);
        }
        true
    }

    /// Charges what a read came to.
    pub fn charge_read(&self, key: &str, units: f64) {
        let mut state = self.lock();
        let at = state.partition_of(key);
        state.window.read_units[at] += units;
        state.heat(key, units);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn partition_of(&mut self, key: &str) -> usize {
        if let Some(placed) = self.keys.get(key) {
            return placed.partition;
        }
        let mut residents = [0; PARTITIONS];
        self.keys
            .values()
            .for_each(|placed| residents[placed.partition] += 1);
        let partition = least(&residents);
        let placed = Placed {
            partition,
            ..Placed::default()
        };
        self.keys.insert(key.to_owned(), placed);
        partition
    }

    fn heat(&mut self, key: &str, units: f64) {
        if let Some(placed) = self.keys.get_mut(key) {
            self.window.keys += usize::from(placed.heat == 0.0);
            placed.heat += units;
        }
    }

    /// The busiest key first, each to the partition that has least: of load, and then of keys. Keys that nobody has ever
    /// used weigh nothing, and are spread by their number.
    fn rebalance(&mut self) {
        for placed in self.keys.values_mut() {
            placed.known = placed.known / 2.0 + std::mem::take(&mut placed.heat);
        }
        let mut keys: Vec<(&String, &mut Placed)> = self.keys.iter_mut().collect();
        keys.sort_by(|(a, x), (b, y)| y.known.total_cmp(&x.known).then_with(|| a.cmp(b)));
        let mut load = [(0.0_f64, 0_usize); PARTITIONS];
        for (_, placed) in keys {
            let used = placed.known > 0.0;
            let least = |a: &usize, b: &usize| {
                let ((a_units, a_keys), (b_units, b_keys)) = (load[*a], load[*b]);
                let units = if used {
                    a_units.total_cmp(&b_units)
                } else {
                    Ordering::Equal
                };
                units.then(a_keys.cmp(&b_keys))
            };
            placed.partition = (0..PARTITIONS).min_by(least).unwrap_or(0);
            let (units, keys) = &mut load[placed.partition];
            *units += placed.known;
            *keys += 1;
        }
    }
}

fn least(residents: &[usize; PARTITIONS]) -> usize {
    (0..PARTITIONS).min_by_key(|at| residents[*at]).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        write_units: 10.0,
        read_units: 4.0,
    };

    #[test]
    fn one_key_has_one_partitions_share() {
        let partitions = Partitions::default();
        partitions.limit(Some(LIMIT));
        let taken = (0..25).filter(|_| partitions.admit(&[("t/a", 1.0)])).count();
        assert_eq!(taken, 10);
        assert!(partitions.admit(&[("t/b", 1.0)]), "another key is elsewhere");
        let window = partitions.tick();
        assert_eq!(window.throttled.iter().sum::<u64>(), 15);
        assert_eq!(window.busiest_write_share(), 10.0 / 11.0);
        assert_eq!(window.keys, 2);
        assert!(partitions.admit(&[("t/a", 10.0)]), "a new window has begun");
        assert!(!partitions.admit(&[("t/a", 0.5)]));
    }

    #[test]
    fn new_keys_are_spread_evenly() {
        let partitions = Partitions::default();
        for n in 0..64 {
            assert!(partitions.admit(&[(&format!("t/{n}"), 1.0)]));
        }
        assert_eq!(partitions.window().write_units, [8.0; PARTITIONS]);
    }

    #[test]
    fn heat_is_evened_out_between_windows_and_a_key_stays_whole() {
        let partitions = Partitions::default();
        // Cold keys and busy ones take turns, so that the busy ones meet on every second partition.
        let load = || {
            for n in 0..16 {
                let units = if n % 2 == 0 { 10.0 } else { 0.1 };
                assert!(partitions.admit(&[(&format!("t/{n}"), units)]));
            }
        };
        load();
        assert!(partitions.tick().busiest_write_share() > 0.24);
        load();
        assert!(partitions.tick().busiest_write_share() < 0.13);
        assert!(partitions.admit(&[("t/0", 100.0)]));
        partitions.tick();
        assert!(partitions.admit(&[("t/0", 100.0)]));
        assert_eq!(partitions.tick().busiest_write_share(), 1.0);
    }

    #[test]
    fn a_window_in_which_few_keys_were_used_crowds_nobody() {
        let partitions = Partitions::default();
        let load = |keys: std::ops::Range<usize>| {
            for n in keys {
                assert!(partitions.admit(&[(&format!("t/{n}"), 10.0)]));
            }
        };
        load(0..64);
        partitions.tick();
        // One on each partition but one.
        load(0..7);
        partitions.tick();
        load(0..64);
        assert!(partitions.tick().busiest_write_share() < 0.17);
    }

    #[test]
    fn a_request_is_charged_whole_or_not_at_all() {
        let partitions = Partitions::default();
        partitions.limit(Some(LIMIT));
        assert!(partitions.admit(&[("t/a", 8.0)]));
        assert!(!partitions.admit(&[("t/b", 1.0), ("t/a", 3.0)]));
        assert_eq!(partitions.window().write_units.iter().sum::<f64>(), 8.0);
        assert!(
            !partitions.admit(&[("t/b", 6.0), ("t/b", 6.0)]),
            "together they are too much"
        );
    }

    #[test]
    fn reads_pass_until_their_units_are_spent() {
        let partitions = Partitions::default();
        partitions.limit(Some(LIMIT));
        assert!(partitions.admit(&[("t/a", 0.0)]));
        partitions.charge_read("t/a", 7.0);
        assert!(!partitions.admit(&[("t/a", 0.0)]));
        assert!(
            partitions.admit(&[("t/a", 1.0)]),
            "writes have units of their own"
        );
        assert_eq!(partitions.window().busiest_read_share(), 1.0);
    }

    #[test]
    fn nothing_is_refused_without_a_limit() {
        let partitions = Partitions::default();
        assert!((0..1000).all(|_| partitions.admit(&[("t/a", 100.0)])));
        assert_eq!(Window::default().busiest_write_share(), 0.0);
    }
}
