//! What the taps of all protocols have in common: the port, rules, gates, and the state of the link.

mod front;
mod gate;
pub(crate) mod http;
mod link;
mod proxy;
mod rule;
mod shared;

pub(crate) use front::Front;
pub(crate) use gate::Fate;
pub use link::LinkGuard;
pub(crate) use link::{Link, LinkState, audible};
pub use proxy::Tap;
pub(crate) use rule::{Decision, Hold, Pass, Rules};
pub use rule::{Gate, Protocol, Rule, RuleGuard, Verdict, When};
pub use shared::Shared;

/// Entries that are kept of a log where nobody judges by it: what is watched on call may go on for hours.
#[cfg(feature = "oncall")]
const KEPT: usize = 4096;

/// Writes an entry into a tap's log. In a program that is watched on call the older half goes when there are too many.
pub(crate) fn noted<T>(log: &mut Vec<T>, entry: T) {
    #[cfg(feature = "oncall")]
    if log.len() >= KEPT {
        log.drain(..KEPT / 2);
    }
    log.push(entry);
}
