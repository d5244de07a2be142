//! Whether the database is well, as far as the requests of this replica tell. No locks and no clock in here: whoever
//! owns it brings both.

use std::time::Instant;

use crate::config::BreakerCfg;
use crate::stats::BreakerState;

#[derive(Debug)]
pub struct Health {
    cfg: BreakerCfg,
    is: Is,
    /// Grows whenever it opens and whenever a probe is let in: what came before says nothing any more.
    era: u64,
}

#[derive(Debug)]
enum Is {
    Well { failures: u32 },
    Down { since: Instant, probe: Option<Probe> },
}

#[derive(Debug)]
struct Probe {
    era: u64,
    since: Instant,
}

/// That a request was let in, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass(u64);

impl Health {
    pub fn new(cfg: BreakerCfg) -> Health {
        Health {
            cfg,
            is: Is::Well { failures: 0 },
            era: 0,
        }
    }

    /// Lets a request in, or not.
    pub fn admit(&mut self, now: Instant) -> Option<Pass> {
        let due = self.is_due(now);
        if let Is::Down { probe, .. } = &mut self.is {
            if !due {
                return None;
            }
            self.era += 1;
            *probe = Some(Probe { era: self.era, since: now });
        }
        Some(Pass(self.era))
    }

    /// Once more for one that was let in and took its time until now.
    pub fn admit_again(&mut self, pass: Pass, now: Instant) -> Option<Pass> {
        if self.is_probe(pass) {
            return Some(pass);
        }
        self.admit(now)
    }

    pub fn answered(&mut self, pass: Pass) {
        let current = pass.0 == self.era;
        let probe = self.is_probe(pass);
        match &mut self.is {
            Is::Well { failures } if current => *failures = 0,
            Is::Down { .. } if probe => self.is = Is::Well { failures: 0 },
            _ => {}
        }
    }

    /// Whether it is down from now on.
    pub fn failed(&mut self, pass: Pass, now: Instant) -> bool {
        let current = pass.0 == self.era;
        let probe = self.is_probe(pass);
        let down = match &mut self.is {
            Is::Well { failures } if current => {
                *failures += 1;
                *failures >= self.cfg.failures
            }
            Is::Down { .. } => probe,
            Is::Well { .. } => false,
        };
        if down {
            self.is = Is::Down { since: now, probe: None };
            self.era += 1;
        }
        down
    }

    /// It ended without a word about the database.
    pub fn silent(&mut self, pass: Pass) {
        if self.is_probe(pass)
            && let Is::Down { probe, .. } = &mut self.is
        {
            *probe = None;
        }
    }

    pub fn state(&self, now: Instant) -> BreakerState {
        match &self.is {
            Is::Well { .. } => BreakerState::Closed,
            Is::Down { probe: None, .. } if !self.is_due(now) => BreakerState::Open,
            Is::Down { .. } => BreakerState::HalfOpen,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        match &self.is {
            Is::Well { .. } => true,
            Is::Down { since, probe } => {
                let since = probe.as_ref().map_or(*since, |probe| probe.since);
                now.saturating_duration_since(since) >= self.cfg.open_for
            }
        }
    }

    fn is_probe(&self, pass: Pass) -> bool {
        matches!(&self.is, Is::Down { probe: Some(probe), .. } if probe.era == pass.0)
    }
}
