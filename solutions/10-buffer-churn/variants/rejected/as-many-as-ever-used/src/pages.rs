use std::mem;
use std::ops::{Deref, DerefMut};

use crossbeam_queue::SegQueue;

pub(crate) struct Pages {
    idle: SegQueue<Vec<u8>>,
    max_retained: usize,
    typical: usize,
}

pub(crate) struct Page<'a> {
    pages: &'a Pages,
    bytes: Vec<u8>,
}

impl Pages {
    pub(crate) fn new(_max_idle: usize, max_retained: usize, typical: usize) -> Pages {
        Pages {
            idle: SegQueue::new(),
            max_retained,
            typical,
        }
    }

    pub(crate) fn take(&self) -> Page<'_> {
        let idle = self.idle.pop();
        let bytes = idle.unwrap_or_else(|| Vec::with_capacity(self.typical));
        Page { pages: self, bytes }
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        self.idle.len() * self.typical
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        if bytes.capacity() <= self.pages.max_retained {
            bytes.clear();
            self.pages.idle.push(bytes);
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
