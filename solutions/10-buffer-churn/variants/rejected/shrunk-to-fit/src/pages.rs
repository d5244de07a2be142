use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

/// Pages that are not being written to, for the next document: rendering should not go to the allocator each time.
pub(crate) struct Pages {
    /// Empty pages, bounded in number and in size; the lock is held only to put one in or take one out.
    idle: Mutex<Vec<Vec<u8>>>,
    max_idle: usize,
    typical: usize,
}

/// A page of one document. It belongs to the document until its last byte was taken, and goes back when it is dropped,
/// which is also what `?`, a panic and a dropped future do.
pub(crate) struct Page<'a> {
    pages: &'a Pages,
    bytes: Vec<u8>,
}

impl Pages {
    pub(crate) fn new(max_idle: usize, _max_retained: usize, typical: usize) -> Pages {
        Pages {
            idle: Mutex::new(Vec::with_capacity(max_idle)),
            max_idle,
            typical,
        }
    }

    /// An empty page. Never waits for one: beyond those that are idle there is always the allocator.
    pub(crate) fn take(&self) -> Page<'_> {
        let idle = self.idle.lock().unwrap().pop();
        let bytes = idle.unwrap_or_else(|| Vec::with_capacity(self.typical));
        Page { pages: self, bytes }
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        self.idle.lock().unwrap().iter().map(Vec::capacity).sum()
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        bytes.clear();
        bytes.shrink_to_fit();
        let mut idle = self.pages.idle.lock().unwrap();
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
