//! Pieces that nobody is filling, each in a place with a lock of its own, which nobody has for long.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// However many may be idle, no more places are made than this.
const MOST: usize = 1024;

pub(crate) struct Pages {
    places: Box<[Mutex<Option<Vec<u8>>>]>,
    /// Where a piece was last put: it is warm.
    last: AtomicUsize,
    max_retained: usize,
    room: usize,
}

/// A piece to be filled. It goes back whatever happens to who has it.
pub(crate) struct Piece<'a> {
    pages: &'a Pages,
    pub(crate) bytes: Vec<u8>,
}

impl Pages {
    /// All pieces have room for `room` bytes.
    pub(crate) fn new(max_idle: usize, max_retained: usize, room: usize) -> Pages {
        Pages {
            places: (0..max_idle.clamp(1, MOST)).map(|_| Mutex::default()).collect(),
            last: AtomicUsize::new(0),
            max_retained,
            room,
        }
    }

    pub(crate) fn take(&self) -> Piece<'_> {
        let idle = self.from_last().find_map(|(_, mut place)| place.take());
        Piece {
            pages: self,
            bytes: idle.unwrap_or_else(|| Vec::with_capacity(self.room)),
        }
    }

    fn give_back(&self, mut bytes: Vec<u8>) {
        if bytes.capacity() > self.max_retained {
            return;
        }
        bytes.clear();
        if let Some((n, mut place)) = self.from_last().find(|(_, place)| place.is_none()) {
            *place = Some(bytes);
            self.last.store(n, Ordering::Relaxed);
        }
    }

    /// The places, one after the other, the last one first.
    fn from_last(&self) -> impl Iterator<Item = (usize, MutexGuard<'_, Option<Vec<u8>>>)> {
        let last = self.last.load(Ordering::Relaxed);
        let all = self.places.len();
        (0..all).map(move |n| {
            let n = (last + n) % all;
            let place = self.places[n].lock();
            (n, place.unwrap_or_else(PoisonError::into_inner))
        })
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        let bytes = |place: &Mutex<Option<Vec<u8>>>| {
            let place = place.lock().unwrap_or_else(PoisonError::into_inner);
            place.as_ref().map_or(0, Vec::capacity)
        };
        self.places.iter().map(bytes).sum()
    }
}

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        self.pages.give_back(std::mem::take(&mut self.bytes));
    }
}
