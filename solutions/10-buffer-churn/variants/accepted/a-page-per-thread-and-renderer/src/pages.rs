use std::cell::Cell;
use std::mem;
use std::ops::{Deref, DerefMut};

use thread_local::ThreadLocal;

pub(crate) struct Pages {
    idle: ThreadLocal<Cell<Option<Vec<u8>>>>,
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
            idle: ThreadLocal::new(),
            max_retained,
            typical,
        }
    }

    pub(crate) fn take(&self) -> Page<'_> {
        let idle = self.idle.get_or_default().take();
        let bytes = idle.unwrap_or_else(|| Vec::with_capacity(self.typical));
        Page { pages: self, bytes }
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        0
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        bytes.clear();
        if bytes.capacity() <= self.pages.max_retained {
            self.pages.idle.get_or_default().set(Some(bytes));
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
