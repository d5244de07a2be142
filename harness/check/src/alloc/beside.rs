//! What the C library's allocator has given out beside the counted requests.

#![expect(unsafe_code, reason = "the C library is asked what it knows")]

use super::Heap;

/// What C code, the allocator itself and the harness's own threads may hold, uncounted: taps keep what they have seen, and a
/// small allocation takes more than was asked for. Memory that a subject takes past the counter to keep it is more than this.
const SLACK_BYTES: i64 = 32 << 20;

/// Bytes in use beyond the counted ones and beyond what is nobody's fault; 0 where the C library does not tell.
///
/// glibc's `mallinfo2` sums over all arenas; it is there from glibc 2.33 on. What is taken by `mmap` is not in it.
pub(super) fn counted(heap: &Heap) -> i64 {
    in_use().map_or(0, |bytes| (bytes - heap.live_bytes - SLACK_BYTES).max(0))
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn in_use() -> Option<i64> {
    use nix::libc;
    // SAFETY: looks up a name.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"mallinfo2".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: the symbol has this type wherever it is.
    let mallinfo2: extern "C" fn() -> libc::mallinfo2 = unsafe { std::mem::transmute(symbol) };
    let info = mallinfo2();
    i64::try_from(info.uordblks + info.hblkhd).ok()
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn in_use() -> Option<i64> {
    None
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout, System};

    use super::*;

    #[test]
    fn memory_of_the_systems_own_allocator_is_seen() {
        if in_use().is_none() {
            return;
        }
        let heap = Heap {
            live_bytes: in_use().unwrap_or(0),
            ..Heap::default()
        };
        assert_eq!(counted(&heap), 0);
        let layout = Layout::from_size_align(96 << 20, 16).unwrap();
        // SAFETY: of a size that is not zero, and given back below.
        let taken = unsafe { System.alloc(layout) };
        let seen = counted(&heap);
        // SAFETY: allocated above.
        unsafe { System.dealloc(taken, layout) };
        assert!((60 << 20..200 << 20).contains(&seen), "{seen} bytes");
    }
}
