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
pub use tasks::{spawned, told as waits, watch as watch_tasks};
pub(crate) use watchdog::{Sight, Watchdog};

/// What the other threads of this process do, those first that are blocked in the graded code. Interrupts what they wait
/// in; see `stacks` for what it costs and cannot see.
pub fn threads() -> Vec<String> {
    words::of_threads(&stacks::all())
}
