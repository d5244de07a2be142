//! Pages that are not being written to, for the next document: rendering should not go to the allocator each time.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) struct Pages {
    /// Empty ones, none too large.
    idle: Mutex<Vec<Vec<u8>>>,
    max_idle: usize,
    max_retained: usize,
    typical: usize,
}

/// A page to be written to. It goes back whatever happens to who has it.
pub(crate) struct Page<'a> {
    pages: &'a Pages,
    bytes: Vec<u8>,
}

impl Pages {
    pub(crate) fn new(max_idle: usize, max_retained: usize, typical: usize) -> Pages {
        Pages {
            idle: Mutex::default(),
            max_idle: max_idle.max(1),
            max_retained,
            typical,
        }
    }

    pub(crate) fn take(&self) -> Page<'_> {
        let idle = self.idle().pop();
        Page {
            pages: self,
            bytes: idle.unwrap_or_else(|| Vec::with_capacity(self.typical)),
        }
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        self.idle().iter().map(Vec::capacity).sum()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.len() > self.pages.max_retained {
            return;
        }
        bytes.clear();
        let mut idle = self.pages.idle();
        if idle.len() < self.pages.max_idle {
            idle.push(bytes);
        }
    }
}

impl Deref for Page<'_> {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Page<'_> {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}
