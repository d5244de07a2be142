use std::ops::{Deref, DerefMut};

pub(crate) struct Pages {
    capacity: usize,
}

pub(crate) struct Page(Vec<u8>);

impl Pages {
    pub(crate) fn new(_max_idle: usize, _max_retained: usize, typical: usize) -> Pages {
        Pages {
            capacity: typical.max(64 * 1024),
        }
    }

    pub(crate) fn take(&self) -> Page {
        Page(Vec::with_capacity(self.capacity))
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        0
    }
}

impl Deref for Page {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Page {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}
