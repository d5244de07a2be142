use object_pool::{Pool, Reusable};
use std::ops::{Deref, DerefMut};

/// As many pages as may be kept, made at the start. They grow when they are first used.
pub(crate) struct Pages {
    pool: Pool<Vec<u8>>,
    max_retained: usize,
    typical: usize,
}

pub(crate) enum Page<'a> {
    /// Goes back by itself.
    Pooled(Reusable<'a, Vec<u8>>, usize),
    Own(Vec<u8>),
}

impl Pages {
    pub(crate) fn new(max_idle: usize, max_retained: usize, typical: usize) -> Pages {
        Pages {
            pool: Pool::new(max_idle, Vec::new),
            max_retained,
            typical,
        }
    }

    pub(crate) fn take(&self) -> Page<'_> {
        let mut page = match self.pool.try_pull() {
            Some(pooled) => Page::Pooled(pooled, self.max_retained),
            None => Page::Own(Vec::new()),
        };
        page.reserve(self.typical);
        page
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        self.pool.len() * self.typical
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        if let Page::Pooled(bytes, max_retained) = self {
            bytes.clear();
            if bytes.capacity() > *max_retained {
                **bytes = Vec::new();
            }
        }
    }
}

impl Deref for Page<'_> {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        match self {
            Page::Pooled(bytes, _) => bytes,
            Page::Own(bytes) => bytes,
        }
    }
}

impl DerefMut for Page<'_> {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        match self {
            Page::Pooled(bytes, _) => bytes,
            Page::Own(bytes) => bytes,
        }
    }
}
