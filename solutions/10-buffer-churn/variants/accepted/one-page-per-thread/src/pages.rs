use std::cell::Cell;
use std::mem;
use std::ops::{Deref, DerefMut};

thread_local! {
    /// The thread's page, while nobody uses it.
    static IDLE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

pub(crate) struct Pages {
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
            max_retained,
            typical,
        }
    }

    pub(crate) fn take(&self) -> Page<'_> {
        let mut bytes = IDLE.take();
        bytes.reserve(self.typical);
        Page { pages: self, bytes }
    }

    /// Of this thread: the others' are not known here.
    pub(crate) fn idle_bytes(&self) -> usize {
        let bytes = IDLE.take();
        let capacity = bytes.capacity();
        IDLE.set(bytes);
        capacity
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        if bytes.capacity() > self.pages.max_retained {
            return;
        }
        bytes.clear();
        // A thread that ends has no cell any more.
        IDLE.try_with(|idle| idle.set(bytes)).ok();
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
