//! Heap memory: how much was asked for, how often, how much is still held, and by whom.
//!
//! [`Counting`] stands in front of the system's allocator in every graded program. Each thread counts into a cell of
//! its own, merged when somebody asks, so counting costs a few plain loads and stores (about a nanosecond) and no
//! contention: counters shared by threads cost up to thirty times that on two threads and change what they measure.
//!
//! Counts are exact, for requests as the program makes them: a `realloc` is one allocation of its new size. They cannot
//! see memory that C code, `mmap` or the system's allocator is asked for past this one, nor what the allocator keeps for
//! itself. Memory that one thread allocates and another frees is right in [`process`], meaningless in [`thread`]'s
//! `live_bytes`.

mod cells;
mod scope;
pub mod sites;
mod slope;

use std::time::{Duration, Instant};

pub use cells::{Counting, exempt_current_thread, process, thread};
pub use scope::Scope;
pub use slope::{Slope, slope};

/// What was asked of the allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heap {
    /// Requests for memory, reallocations included.
    pub allocations: u64,
    /// Bytes asked for in all.
    pub bytes: u64,
    /// Bytes asked for and not given back.
    pub live_bytes: i64,
}

impl std::ops::Sub for Heap {
    type Output = Heap;

    /// What happened between two readings.
    fn sub(self, earlier: Heap) -> Heap {
        Heap {
            allocations: self.allocations.wrapping_sub(earlier.allocations),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
            live_bytes: self.live_bytes - earlier.live_bytes,
        }
    }
}

/// The process's heap once its live bytes have come to rest: the reading with the fewest live bytes after three
/// readings in a row that agree, or after two seconds. Under a paused clock the waits cost no time.
pub async fn settled() -> Heap {
    let begun = Instant::now();
    let mut lowest = process();
    let mut agreeing = 0;
    let mut last = lowest.live_bytes;
    while agreeing < 3 && begun.elapsed() < Duration::from_secs(2) {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
        let now = process();
        agreeing = if now.live_bytes == last { agreeing + 1 } else { 0 };
        last = now.live_bytes;
        if now.live_bytes <= lowest.live_bytes {
            lowest = now;
        }
    }
    lowest
}
