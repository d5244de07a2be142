//! What is told when nothing happens any more. In reading order:
//!
//! - `watchdog`: a thread that waits for signs of life, and speaks when they stay away;
//! - `stacks`: where each thread of this process stands; `words`: which of them are blocked, and in what;
//! - `tasks`: which tasks wait for what. Only in the diagnosis build: it needs what tokio calls unstable.

mod stacks;
#[cfg(all(tokio_unstable, feature = "diagnosis"))]
mod tasks;
mod watchdog;
mod words;

#[cfg(all(tokio_unstable, feature = "diagnosis"))]
pub(crate) use tasks::watch as watch_tasks;
pub(crate) use watchdog::{Sight, Watchdog};
