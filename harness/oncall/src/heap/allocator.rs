//! The allocator that records.

#![expect(unsafe_code, reason = "a global allocator cannot be written without it")]

use std::alloc::{GlobalAlloc, Layout};

use harness::alloc::Counting;

use super::record;

/// The system's allocator, counted and recorded: `#[global_allocator]` of a program that is watched.
#[derive(Clone, Copy, Debug)]
pub struct Recording;

// SAFETY: every request is passed on unchanged to `Counting`, which passes it on to the system's allocator; recording
// touches no memory that is handed out, and what it allocates itself it does not record.
unsafe impl GlobalAlloc for Recording {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are `Counting`'s.
        let pointer = unsafe { Counting.alloc(layout) };
        if !pointer.is_null() {
            record::asked(pointer as usize, layout.size());
        }
        pointer
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let pointer = unsafe { Counting.alloc_zeroed(layout) };
        if !pointer.is_null() {
            record::asked(pointer as usize, layout.size());
        }
        pointer
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        record::given_back(pointer as usize);
        // SAFETY: as above.
        unsafe { Counting.dealloc(pointer, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Before the call: afterwards another thread may already own the old address.
        record::given_back(pointer as usize);
        // SAFETY: as above.
        let moved = unsafe { Counting.realloc(pointer, layout, size) };
        if !moved.is_null() {
            record::asked(moved as usize, size);
        }
        moved
    }
}
