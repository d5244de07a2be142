//! Who holds memory, and who asks for it.
//!
//! [`Recording`] is a global allocator that stands before [`harness::alloc::Counting`], which counts every request. Of
//! the requests it records some, with their stacks: on average one for every [`EVERY_BYTES`] asked for, drawn at random,
//! so that a profile is true of a program whose requests come in a rhythm. What is recorded stands for all: a block of
//! `size` is recorded with probability 1 - exp(-size / EVERY_BYTES), and counts for the inverse of that.
//!
//! **Counts**: blocks and bytes by stack, asked for since the start and still held. A `realloc` is a block given back and
//! another asked for.
//!
//! **Costs**: per request a subtraction in a thread-local, per block given back one load from a table of 128 KiB; per
//! recorded request a walk over [`FRAMES`] frame pointers, a lock and two hash tables, below a microsecond.
//!
//! **Cannot see**: small blocks one by one (a site that holds less than some [`EVERY_BYTES`] may be missing, or be told
//! as that much); memory of C code and `mmap`; frames of code without frame pointers; more than [`FRAMES`] frames; what
//! the threads that look at the service allocate, which is left out on purpose.

mod allocator;
mod profile;
mod record;

pub use allocator::Recording;
pub use profile::{profile, profile_of};
pub use record::{Site, exempt_current_thread, record, sites};

/// Bytes asked for between two records, on average.
pub const EVERY_BYTES: u64 = 64 << 10;
/// Return addresses kept per site.
pub const FRAMES: usize = 48;

/// Every request, counted.
pub fn totals() -> harness::alloc::Heap {
    harness::alloc::process()
}
