//! What the taps of all protocols have in common: the port, rules, gates, and the state of the link.

mod front;
mod gate;
mod link;
mod rule;

pub(crate) use front::{Front, reached};
pub(crate) use gate::Fate;
pub use link::LinkGuard;
pub(crate) use link::{Link, LinkState, audible};
pub(crate) use rule::{Decision, Place, Rules};
pub use rule::{Gate, Protocol, Rule, RuleGuard, Verdict, When};
