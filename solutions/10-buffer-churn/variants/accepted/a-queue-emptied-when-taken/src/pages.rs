use std::mem;
use std::ops::{Deref, DerefMut};

use crossbeam_queue::ArrayQueue;

pub(crate) struct Pages {
    /// With whatever their last document left in them.
    idle: ArrayQueue<Vec<u8>>,
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
            idle: ArrayQueue::new(max_idle.max(1)),
            max_retained,
            typical,
        }
    }

    pub(crate) fn take(&self) -> Page<'_> {
        let mut bytes = self.idle.pop().unwrap_or_default();
        bytes.clear();
        bytes.reserve(self.typical);
        Page { pages: self, bytes }
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        self.idle.len() * self.typical
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        if self.bytes.capacity() <= self.pages.max_retained {
            self.pages.idle.push(mem::take(&mut self.bytes)).ok();
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
