//! Who allocates: the call sites of requests, while recording is on.
//!
//! Walks frame pointers (graded programs are built with them) into fixed tables, so recording allocates nothing; it
//! costs some tens of nanoseconds per request and a lock, so it is switched on only for a second run, after a budget of
//! memory was exceeded. It cannot see frames of code built without frame pointers, nor more than [`FRAMES`] of them.
//! async functions show as the line that was being polled.

#![expect(
    unsafe_code,
    reason = "walks the stack and keeps tables that the allocator itself may write to"
)]

use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, Ordering::*};

use nix::libc;
use verdict::wire::Site;

/// Return addresses kept per site.
pub const FRAMES: usize = 32;
const SITES: usize = 4096;
const POINTERS: usize = 1 << 20;
/// Frames of the subject that are told per site.
const FRAMES_TOLD: usize = 4;

static RECORDING: AtomicBool = AtomicBool::new(false);
static TABLES: Tables = Tables {
    locked: AtomicBool::new(false),
    inner: UnsafeCell::new(Inner {
        sites: [EMPTY; SITES],
        pointers: [(0, 0, 0); POINTERS],
    }),
};

const EMPTY: Entry = Entry {
    hash: 0,
    frames: [0; FRAMES],
    allocations: 0,
    bytes: 0,
    live_bytes: 0,
};

struct Tables {
    locked: AtomicBool,
    inner: UnsafeCell<Inner>,
}

// SAFETY: `with` gives access to `inner` to one thread at a time.
unsafe impl Sync for Tables {}

struct Inner {
    sites: [Entry; SITES],
    /// Open addressing: address, site, size. An address of 0 is free, of 1 was taken before.
    pointers: [(usize, u32, u32); POINTERS],
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    frames: [usize; FRAMES],
    allocations: u64,
    bytes: u64,
    live_bytes: i64,
}

impl Tables {
    /// A spin lock: a mutex of the standard library may allocate, and this runs inside the allocator.
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        while self.locked.swap(true, Acquire) {
            std::hint::spin_loop();
        }
        // SAFETY: the lock is held until the borrow ends.
        let value = f(unsafe { &mut *self.inner.get() });
        self.locked.store(false, Release);
        value
    }
}

/// Switches recording on or off.
pub fn record(on: bool) {
    RECORDING.store(on, Relaxed);
}

#[inline]
pub(super) fn recording() -> bool {
    RECORDING.load(Relaxed)
}

pub(super) fn note(address: usize, size: usize) {
    let mut frames = [0; FRAMES];
    walk(&mut frames);
    let hash = frames.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, frame| {
        (hash ^ *frame as u64).wrapping_mul(0x0000_0100_0000_01b3)
    }) | 1;
    TABLES.with(|tables| {
        let Some(index) = slot(hash, SITES, |index| {
            let known = tables.sites[index].hash;
            known == 0 || known == hash
        }) else {
            return;
        };
        let site = &mut tables.sites[index];
        (site.hash, site.frames) = (hash, frames);
        site.allocations += 1;
        site.bytes += size as u64;
        let free = slot(mix(address), POINTERS, |index| tables.pointers[index].0 <= 1);
        if let (Some(free), Ok(size)) = (free, u32::try_from(size)) {
            tables.pointers[free] = (address, index as u32, size);
            tables.sites[index].live_bytes += i64::from(size);
        }
    });
}

pub(super) fn forget(address: usize) {
    TABLES.with(|tables| {
        let found = slot(mix(address), POINTERS, |index| {
            matches!(tables.pointers[index].0, 0) || tables.pointers[index].0 == address
        });
        if let Some(index) = found
            && tables.pointers[index].0 == address
        {
            let (_, site, size) = tables.pointers[index];
            tables.pointers[index].0 = 1;
            tables.sites[site as usize].live_bytes -= i64::from(size);
        }
    });
}

fn mix(address: usize) -> u64 {
    (address as u64 >> 4)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(32)
}

/// The first place from `hash` on that `fits`, giving up after a while: a full table loses entries, never time.
fn slot(hash: u64, len: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let start = hash as usize % len;
    (0..256)
        .map(|step| (start + step) % len)
        .find(|index| fits(*index))
}

/// The sites of the subject's own code, by live bytes if `live`, by allocations otherwise; the largest first.
///
/// Takes some tens of milliseconds to read debug information.
pub fn top(live: bool, count: usize) -> Vec<Site> {
    let was = RECORDING.swap(false, Relaxed);
    let mut entries: Vec<Entry> = Vec::with_capacity(SITES);
    TABLES.with(|tables| entries.extend(tables.sites.iter().filter(|site| site.hash != 0)));
    let weight = |site: &Site| {
        if live {
            site.live_bytes
        } else {
            i64::try_from(site.allocations).unwrap_or(i64::MAX)
        }
    };
    let mut sites: Vec<Site> = Vec::new();
    for entry in entries {
        let frames = subject_frames(&entry.frames);
        if frames.is_empty() {
            continue;
        }
        match sites.iter_mut().find(|site| site.frames == frames) {
            Some(site) => {
                site.allocations += entry.allocations;
                site.bytes += entry.bytes;
                site.live_bytes += entry.live_bytes;
            }
            None => sites.push(Site {
                frames,
                allocations: entry.allocations,
                bytes: entry.bytes,
                live_bytes: entry.live_bytes,
            }),
        }
    }
    sites.sort_by_key(|site| std::cmp::Reverse(weight(site)));
    sites.truncate(count);
    RECORDING.store(was, Relaxed);
    sites
}

/// `file:line` of the frames that lie in an exercise or a solution, the hidden crates left out, innermost first.
fn subject_frames(frames: &[usize; FRAMES]) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for frame in frames.iter().take_while(|frame| **frame != 0) {
        // A return address points behind the call.
        backtrace::resolve((*frame - 1) as *mut _, |symbol| {
            if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno())
                && let Some(file) = subject_file(&file.to_string_lossy())
            {
                let place = format!("{file}:{line}");
                if told.last() != Some(&place) && told.len() < FRAMES_TOLD {
                    told.push(place);
                }
            }
        });
    }
    told
}

/// From the room on, if the file is one of an exercise or a solution.
pub(crate) fn subject_file(file: &str) -> Option<&str> {
    let start = ["exercises/", "solutions/"]
        .iter()
        .filter_map(|room| file.rfind(room))
        .max()?;
    let file = &file[start..];
    (!file.contains("/hidden/")).then_some(file)
}

/// The addresses that the calling function, and each that led to it, will return to; innermost first, as many as there is room
/// for. Allocates nothing.
pub fn walk(frames: &mut [usize]) {
    let (low, high) = stack_bounds();
    let mut frame = frame_pointer();
    for slot in frames.iter_mut() {
        let aligned = frame.is_multiple_of(align_of::<usize>());
        if !aligned || frame < low || frame.saturating_add(2 * size_of::<usize>()) > high {
            return;
        }
        // SAFETY: the two words lie within this thread's stack, which is mapped and aligned.
        let (next, address) = unsafe { (*(frame as *const usize), *(frame as *const usize).add(1)) };
        if address == 0 {
            return;
        }
        *slot = address;
        if next <= frame {
            return;
        }
        frame = next;
    }
}

#[inline(always)]
fn frame_pointer() -> usize {
    let frame: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads a register.
    unsafe {
        std::arch::asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads a register.
    unsafe {
        std::arch::asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        frame = 0;
    }
    frame
}

/// The current thread's stack, looked up once per thread.
fn stack_bounds() -> (usize, usize) {
    thread_local!(static BOUNDS: Cell<(usize, usize)> = const { Cell::new((0, 0)) });
    let known = BOUNDS.get();
    if known != (0, 0) {
        return known;
    }
    let bounds = look_up_stack_bounds();
    BOUNDS.set(bounds);
    bounds
}

#[cfg(target_os = "linux")]
fn look_up_stack_bounds() -> (usize, usize) {
    let mut low = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: `attributes` is initialised by the first call, read by the second and destroyed by the third.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return (1, 1);
        }
        libc::pthread_attr_getstack(&attributes, &mut low, &mut size);
        libc::pthread_attr_destroy(&mut attributes);
    }
    (low as usize, low as usize + size)
}

#[cfg(target_os = "macos")]
fn look_up_stack_bounds() -> (usize, usize) {
    // SAFETY: both only read facts about the current thread.
    let (high, size) = unsafe {
        let thread = libc::pthread_self();
        (
            libc::pthread_get_stackaddr_np(thread) as usize,
            libc::pthread_get_stacksize_np(thread),
        )
    };
    (high - size, high)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "/w/exercises/01-memory-leak/src/hub.rs",
        Some("exercises/01-memory-leak/src/hub.rs")
    )]
    #[case(
        "solutions/01-memory-leak/src/hub.rs",
        Some("solutions/01-memory-leak/src/hub.rs")
    )]
    #[case("/w/exercises/01-memory-leak/hidden/tests/grade.rs", None)]
    #[case("/home/x/.cargo/registry/tokio/src/task.rs", None)]
    fn only_the_subjects_own_files_are_told(#[case] file: &str, #[case] told: Option<&str>) {
        assert_eq!(subject_file(file), told);
    }

    #[test]
    fn the_stack_is_walked_up_to_here() {
        let mut frames = [0; FRAMES];
        walk(&mut frames);
        let mut names = Vec::new();
        for frame in frames.iter().take_while(|frame| **frame != 0) {
            backtrace::resolve((*frame - 1) as *mut _, |symbol| {
                names.extend(symbol.name().map(|name| name.to_string()));
            });
        }
        assert!(
            names
                .iter()
                .any(|name| name.contains("the_stack_is_walked_up_to_here")),
            "{names:#?}"
        );
    }

    #[test]
    fn live_bytes_follow_what_is_given_back() {
        let live = || TABLES.with(|tables| tables.sites.iter().map(|site| site.live_bytes).sum::<i64>());
        let before = live();
        note(0x1000, 100);
        note(0x2000, 50);
        forget(0x1000);
        forget(0x3000);
        assert_eq!(live() - before, 50);
        forget(0x2000);
        assert_eq!(live() - before, 0);
    }
}
