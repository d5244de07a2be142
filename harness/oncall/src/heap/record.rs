//! What is recorded of the requests: which, and by whom.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::*};
use std::sync::{Mutex, MutexGuard, PoisonError};

use harness::alloc::sites::walk;

use super::{EVERY_BYTES, FRAMES};

/// Counts the recorded blocks that are held, by a hash of their address: of a block whose place is empty nothing needs
/// to be forgotten, which is true of nearly all.
static HELD: [AtomicU16; PLACES] = [const { AtomicU16::new(0) }; PLACES];
const PLACES: usize = 1 << 16;

static RECORDING: AtomicBool = AtomicBool::new(false);
static RECORDS: Mutex<Option<Records>> = Mutex::new(None);

thread_local! {
    // Constants without a destructor: reading them never allocates.
    /// Bytes until the next record.
    static LEFT: Cell<i64> = const { Cell::new(0) };
    /// The state of the draws; 0 before the first.
    static DRAWS: Cell<u64> = const { Cell::new(0) };
    /// Within a record.
    static AWAY: Cell<bool> = const { Cell::new(false) };
    /// A thread that is left out.
    static EXEMPT: Cell<bool> = const { Cell::new(false) };
}

/// A stack, and the blocks that stand for all that was asked for there.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Return addresses, innermost first.
    pub frames: Vec<usize>,
    pub asked_blocks: f64,
    pub asked_bytes: f64,
    pub held_blocks: f64,
    pub held_bytes: f64,
}

#[derive(Default)]
struct Records {
    places: HashMap<[usize; FRAMES], usize, BuildHasherDefault<Mixing>>,
    sites: Vec<Site>,
    /// Address → site, and the blocks and bytes that it stands for.
    blocks: HashMap<usize, (usize, f64, f64), BuildHasherDefault<Mixing>>,
}

/// What this thread allocates is left out, now and in the counts.
pub fn exempt_current_thread() {
    harness::alloc::exempt_current_thread();
    EXEMPT.set(true);
}

/// Whether anything is recorded from here on. A thread finds out after some [`EVERY_BYTES`] more.
pub fn record(on: bool) {
    RECORDING.store(on, Relaxed);
}

/// All sites so far.
pub fn sites() -> Vec<Site> {
    away(|| {
        records()
            .as_ref()
            .map(|records| records.sites.clone())
            .unwrap_or_default()
    })
}

#[inline]
pub(super) fn asked(address: usize, size: usize) {
    let left = LEFT.get() - size as i64;
    LEFT.set(left);
    if left < 0 {
        draw_and_note(address, size);
    }
}

#[inline]
pub(super) fn given_back(address: usize) {
    if HELD[place(address)].load(Relaxed) != 0 {
        forget(address);
    }
}

#[cold]
fn draw_and_note(address: usize, size: usize) {
    if !RECORDING.load(Relaxed) {
        LEFT.set(EVERY_BYTES as i64);
        return;
    }
    let first = DRAWS.get() == 0;
    LEFT.set(draw());
    // A thread's first request is not its first draw.
    if first || AWAY.get() || EXEMPT.get() {
        return;
    }
    let mut frames = [0; FRAMES];
    walk(&mut frames);
    away(|| {
        if let Some(records) = &mut *records() {
            records.add(address, size, frames);
        } else {
            let mut new = Records::default();
            new.add(address, size, frames);
            *records() = Some(new);
        }
    });
}

#[cold]
fn forget(address: usize) {
    if !AWAY.get() {
        away(|| {
            if let Some(records) = &mut *records() {
                records.remove(address);
            }
        });
    }
}

impl Records {
    fn add(&mut self, address: usize, size: usize, frames: [usize; FRAMES]) {
        let stands_for = 1.0 / (1.0 - (-(size as f64) / EVERY_BYTES as f64).exp());
        let bytes = stands_for * size as f64;
        let place_of_site = match self.places.get(&frames) {
            Some(place) => *place,
            None => {
                let site = Site {
                    frames: frames.iter().copied().take_while(|frame| *frame != 0).collect(),
                    asked_blocks: 0.0,
                    asked_bytes: 0.0,
                    held_blocks: 0.0,
                    held_bytes: 0.0,
                };
                self.sites.push(site);
                self.places.insert(frames, self.sites.len() - 1);
                self.sites.len() - 1
            }
        };
        let site = &mut self.sites[place_of_site];
        site.asked_blocks += stands_for;
        site.asked_bytes += bytes;
        site.held_blocks += stands_for;
        site.held_bytes += bytes;
        self.blocks.insert(address, (place_of_site, stands_for, bytes));
        HELD[place(address)].fetch_add(1, Relaxed);
    }

    fn remove(&mut self, address: usize) {
        if let Some((site, blocks, bytes)) = self.blocks.remove(&address) {
            let site = &mut self.sites[site];
            site.held_blocks -= blocks;
            site.held_bytes -= bytes;
            HELD[place(address)].fetch_sub(1, Relaxed);
        }
    }
}

/// What `f` allocates and frees is not recorded: it may be the tables of the records themselves, whose lock is held.
fn away<T>(f: impl FnOnce() -> T) -> T {
    let was = AWAY.replace(true);
    let value = f();
    AWAY.set(was);
    value
}

fn records() -> MutexGuard<'static, Option<Records>> {
    RECORDS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(address: usize) -> usize {
    (mixed(address as u64) >> 48) as usize % PLACES
}

fn mixed(bits: u64) -> u64 {
    (bits >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Bytes until the next record: exponential, so that where it falls depends on nothing.
fn draw() -> i64 {
    let mut state = DRAWS.get();
    if state == 0 {
        // The cell's own address differs by thread.
        state = DRAWS.with(|draws| mixed(std::ptr::from_ref(draws) as u64)) | 1;
    }
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    DRAWS.set(state);
    let unit = ((state >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
    (-unit.ln() * EVERY_BYTES as f64) as i64
}

/// Addresses are spread well enough by one multiplication.
#[derive(Default)]
struct Mixing(u64);

impl Hasher for Mixing {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, bits: u64) {
        self.0 = (self.0.rotate_left(5) ^ bits).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, bits: usize) {
        self.write_u64(bits as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(at: usize) -> [usize; FRAMES] {
        let mut frames = [0; FRAMES];
        frames[..2].copy_from_slice(&[at, 7]);
        frames
    }

    #[test]
    fn what_is_given_back_is_no_longer_held() {
        let mut records = Records::default();
        records.add(0x1000, 1 << 20, stack(1));
        records.add(0x2000, 1 << 20, stack(1));
        records.add(0x3000, 1 << 20, stack(2));
        records.remove(0x1000);
        records.remove(0x9000);
        assert_eq!(records.sites.len(), 2);
        let site = &records.sites[0];
        assert_eq!(site.frames, [1, 7]);
        assert!((site.asked_bytes / f64::from(2 << 20) - 1.0).abs() < 1e-4);
        assert!((site.held_bytes / f64::from(1 << 20) - 1.0).abs() < 1e-4);
    }

    #[test]
    fn small_blocks_stand_for_many() {
        let mut records = Records::default();
        records.add(0x1000, 64, stack(1));
        let blocks = records.sites[0].asked_blocks;
        assert!(
            (blocks / (EVERY_BYTES as f64 / 64.0) - 1.0).abs() < 0.01,
            "{blocks}"
        );
    }

    #[test]
    fn draws_are_as_far_apart_as_promised() {
        let mean = (0..20_000).map(|_| draw() as f64).sum::<f64>() / 20_000.0;
        assert!((mean / EVERY_BYTES as f64 - 1.0).abs() < 0.05, "{mean}");
    }
}
