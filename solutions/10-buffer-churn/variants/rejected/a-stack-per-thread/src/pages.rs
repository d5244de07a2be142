use std::cell::RefCell;
use std::mem;
use std::ops::{Deref, DerefMut};

thread_local! {
    static IDLE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
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
        let idle = IDLE.with_borrow_mut(Vec::pop);
        let bytes = idle.unwrap_or_else(|| Vec::with_capacity(self.typical));
        Page { pages: self, bytes }
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        IDLE.with_borrow(|idle| idle.iter().map(Vec::capacity).sum())
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        if bytes.capacity() <= self.pages.max_retained {
            bytes.clear();
            IDLE.with_borrow_mut(|idle| idle.push(bytes));
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
