use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

pub(crate) struct Pages {
    /// A page each, or nothing.
    slots: Box<[Mutex<Vec<u8>>]>,
    max_retained: usize,
    typical: usize,
}

pub(crate) struct Page<'a> {
    pages: &'a Pages,
    bytes: Vec<u8>,
}

impl Pages {
    pub(crate) fn new(max_idle: usize, max_retained: usize, typical: usize) -> Pages {
        Pages {
            slots: (0..max_idle).map(|_| Mutex::default()).collect(),
            max_retained,
            typical,
        }
    }

    pub(crate) fn take(&self) -> Page<'_> {
        let bytes = self
            .slots
            .iter()
            .filter_map(|slot| slot.try_lock().ok())
            .find(|page| page.capacity() > 0)
            .map(|mut page| mem::take(&mut *page));
        let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(self.typical));
        Page { pages: self, bytes }
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        let capacity = |slot: &Mutex<Vec<u8>>| slot.lock().unwrap_or_else(PoisonError::into_inner).capacity();
        self.slots.iter().map(capacity).sum()
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        bytes.clear();
        if bytes.capacity() > self.pages.max_retained {
            return;
        }
        // Other threads hold a slot for a few instructions only; a full one is passed.
        let free = self
            .pages
            .slots
            .iter()
            .map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner))
            .find(|page| page.capacity() == 0);
        if let Some(mut free) = free {
            *free = bytes;
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
