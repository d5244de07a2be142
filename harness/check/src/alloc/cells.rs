//! The allocator and its cells.

#![expect(unsafe_code, reason = "a global allocator cannot be written without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use super::{Heap, sites};

/// Threads that count without contention at one time; more share one cell.
const CELLS: usize = 1024;

static TABLE: [ThreadCell; CELLS] = [const { ThreadCell::new(false) }; CELLS];
/// For threads beyond the table, and for what a thread frees while its thread-locals are being dropped.
static SHARED: ThreadCell = ThreadCell::new(true);
/// For the harness's own threads: never merged.
static EXEMPT: ThreadCell = ThreadCell::new(true);

/// Alone on its cache line, so that two threads' counting does not meet.
#[repr(align(128))]
struct ThreadCell {
    taken: AtomicBool,
    /// Whether more than one thread counts here.
    shared: bool,
    counts: Counts,
}

/// What is live is what was asked for without what was given back: so a request touches two of these, a return one,
/// and neither waits for what the other has written.
#[derive(Debug, Default)]
pub(super) struct Counts {
    allocations: AtomicU64,
    bytes: AtomicU64,
    given_back: AtomicU64,
}

impl Counts {
    const fn new() -> Counts {
        Counts {
            allocations: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
        }
    }

    pub(super) fn read(&self) -> Heap {
        let bytes = self.bytes.load(Relaxed);
        Heap {
            allocations: self.allocations.load(Relaxed),
            bytes,
            live_bytes: bytes.wrapping_sub(self.given_back.load(Relaxed)).cast_signed(),
        }
    }

    #[inline]
    fn count(&self, what: Counted, add: impl Fn(&AtomicU64, usize)) {
        if let Some(size) = what.asked {
            add(&self.allocations, 1);
            add(&self.bytes, size);
        }
        if let Some(size) = what.given_back {
            add(&self.given_back, size);
        }
    }
}

/// One call of the allocator, in bytes.
#[derive(Clone, Copy)]
struct Counted {
    asked: Option<usize>,
    given_back: Option<usize>,
}

/// By anybody at any time.
fn add_shared(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Relaxed);
}

/// Only the owner writes, so a load and a store do, without a locked instruction.
#[inline]
fn add_owned(counter: &AtomicU64, more: usize) {
    counter.store(counter.load(Relaxed).wrapping_add(more as u64), Relaxed);
}

impl ThreadCell {
    const fn new(shared: bool) -> ThreadCell {
        ThreadCell {
            taken: AtomicBool::new(false),
            shared,
            counts: Counts::new(),
        }
    }

    #[inline]
    fn count(&self, what: Counted) {
        if self.shared {
            self.counts.count(what, add_shared);
        } else {
            self.counts.count(what, add_owned);
        }
    }
}

/// Gives a thread's cell to the next thread when it ends. The counts stay in it: totals are sums over all cells.
struct Lease(&'static ThreadCell);

impl Drop for Lease {
    fn drop(&mut self) {
        CELL.set(Some(&SHARED));
        self.0.taken.store(false, Release);
    }
}

thread_local! {
    // Constants without a destructor: reading them never allocates, so the allocator may.
    static CELL: Cell<Option<&'static ThreadCell>> = const { Cell::new(None) };
    static SCOPED: Cell<bool> = const { Cell::new(false) };
    static IN_SITES: Cell<bool> = const { Cell::new(false) };
    // With destructors: touched only outside the allocator's fast path.
    static LEASE: RefCell<Option<Lease>> = const { RefCell::new(None) };
    static SCOPE: RefCell<Option<Arc<Counts>>> = const { RefCell::new(None) };
}

#[inline]
fn cell() -> &'static ThreadCell {
    match CELL.get() {
        Some(cell) => cell,
        None => claim(),
    }
}

#[cold]
fn claim() -> &'static ThreadCell {
    // What registering the destructor below may allocate counts as shared.
    CELL.set(Some(&SHARED));
    let free = TABLE
        .iter()
        .find(|cell| !cell.taken.load(Relaxed) && !cell.taken.swap(true, Acquire));
    let Some(cell) = free else { return &SHARED };
    match LEASE.try_with(|lease| lease.replace(Some(Lease(cell)))) {
        Ok(_) => {
            CELL.set(Some(cell));
            cell
        }
        Err(_) => {
            cell.taken.store(false, Release);
            &SHARED
        }
    }
}

#[inline]
fn count(what: Counted) {
    cell().count(what);
    if SCOPED.get() {
        count_scoped(what);
    }
}

#[cold]
fn count_scoped(what: Counted) {
    // `try_borrow`: entering a scope drops the previous one, which may free memory.
    SCOPE
        .try_with(|scope| {
            if let Ok(scope) = scope.try_borrow()
                && let Some(totals) = scope.as_ref()
            {
                totals.count(what, add_shared);
            }
        })
        .ok();
}

/// While it lives, this thread counts into `totals` as well.
pub(super) fn enter(totals: Arc<Counts>) -> Entered {
    SCOPED.set(false);
    let outer = SCOPE.with_borrow_mut(|scope| scope.replace(totals));
    SCOPED.set(true);
    Entered { outer }
}

pub(super) struct Entered {
    outer: Option<Arc<Counts>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        SCOPED.set(false);
        let outer = self.outer.take();
        let scoped = outer.is_some();
        let inner = SCOPE.with_borrow_mut(|scope| std::mem::replace(scope, outer));
        drop(inner);
        SCOPED.set(scoped);
    }
}

/// From here on, what this thread allocates is the harness's own business.
pub fn exempt_current_thread() {
    LEASE.with_borrow_mut(Option::take);
    CELL.set(Some(&EXEMPT));
}

/// All threads but the exempt ones.
pub fn process() -> Heap {
    TABLE
        .iter()
        .chain([&SHARED])
        .map(|cell| cell.counts.read())
        .fold(Heap::default(), |sum, heap| Heap {
            allocations: sum.allocations.wrapping_add(heap.allocations),
            bytes: sum.bytes.wrapping_add(heap.bytes),
            live_bytes: sum.live_bytes.wrapping_add(heap.live_bytes),
        })
}

/// The current thread, and whoever had its cell before: compare two readings.
pub fn thread() -> Heap {
    cell().counts.read()
}

/// The system's allocator, counted.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

// SAFETY: every request is passed on unchanged to `System`, which upholds the contract; counting touches no memory
// that is handed out, and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are `System`'s.
        let pointer = unsafe { System.alloc(layout) };
        if !pointer.is_null() {
            note(pointer, layout.size());
        }
        pointer
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        if !pointer.is_null() {
            note(pointer, layout.size());
        }
        pointer
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        forget(pointer, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if sites::recording() {
            // Before the call: afterwards another thread may already own the old address.
            with_sites(|| sites::forget(pointer as usize));
        }
        // SAFETY: as above.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        if moved.is_null() {
            return moved;
        }
        count(Counted {
            asked: Some(size),
            given_back: Some(layout.size()),
        });
        if sites::recording() {
            with_sites(|| sites::note(moved as usize, size));
        }
        moved
    }
}

#[inline]
fn note(pointer: *mut u8, size: usize) {
    count(Counted {
        asked: Some(size),
        given_back: None,
    });
    if sites::recording() {
        with_sites(|| sites::note(pointer as usize, size));
    }
}

#[inline]
fn forget(pointer: *mut u8, size: usize) {
    count(Counted {
        asked: None,
        given_back: Some(size),
    });
    if sites::recording() {
        with_sites(|| sites::forget(pointer as usize));
    }
}

/// Not for exempt threads, and not from within itself.
#[cold]
fn with_sites(record: impl FnOnce()) {
    if !IN_SITES.get() && !std::ptr::eq(cell(), &EXEMPT) {
        IN_SITES.set(true);
        record();
        IN_SITES.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_counts_what_it_asks_for() {
        let before = thread();
        let kept = vec![0u8; 1000];
        let mut grown: Vec<u8> = Vec::with_capacity(10);
        grown.reserve_exact(500);
        drop(grown);
        let heap = thread() - before;
        assert_eq!(
            heap,
            Heap {
                allocations: 3,
                bytes: 1510,
                live_bytes: 1000
            }
        );
        drop(kept);
        assert_eq!((thread() - before).live_bytes, 0);
    }

    #[test]
    fn more_threads_than_cells_still_count() {
        let before = process();
        for _ in 0..3 {
            let threads: Vec<_> = (0..400)
                .map(|_| std::thread::spawn(|| std::hint::black_box(vec![0u8; 10_000])))
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        }
        assert!((process() - before).bytes >= 1200 * 10_000);
    }
}
