//! What crosses process boundaries, and nothing else. Read in this order:
//!
//! - [`Verdict`]: the four words that a check, a budget and a scenario can end with.
//! - [`wire`]: what `xtask` and a check's process say to each other over the check's pipe.
//! - [`servers`]: what a check may ask for meanwhile.
//! - [`report`]: the object that `grade --format json` prints.
//! - [`exit`]: what the exit codes mean.
//! - [`Patience`]: how long a deadline is on a busy machine, which both ends must agree on.

pub mod exit;
mod patience;
pub mod report;
pub mod servers;
mod verdict;
pub mod wire;

pub use exit::ExitCode;
pub use patience::Patience;
pub use verdict::Verdict;
