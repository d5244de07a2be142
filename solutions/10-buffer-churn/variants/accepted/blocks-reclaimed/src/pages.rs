use std::sync::Mutex;

use bytes::{Bytes, BytesMut};

pub(crate) struct Pages {
    idle: Mutex<Vec<BytesMut>>,
    max_idle: usize,
    max_retained: usize,
    typical: usize,
}

/// A block, and the body that was cut from it.
pub(crate) struct Page<'a> {
    pages: &'a Pages,
    pub(crate) block: BytesMut,
    body: Bytes,
}

impl Pages {
    pub(crate) fn new(max_idle: usize, max_retained: usize, typical: usize) -> Pages {
        Pages {
            idle: Mutex::new(Vec::with_capacity(max_idle)),
            max_idle,
            max_retained,
            typical,
        }
    }

    pub(crate) fn take(&self) -> Page<'_> {
        let idle = self.idle.lock().unwrap().pop();
        Page {
            pages: self,
            block: idle.unwrap_or_else(|| BytesMut::with_capacity(self.typical)),
            body: Bytes::new(),
        }
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        self.idle.lock().unwrap().iter().map(BytesMut::capacity).sum()
    }
}

impl Page<'_> {
    /// Everything that was written so far.
    pub(crate) fn cut(&mut self) -> &Bytes {
        self.body = self.block.split().freeze();
        &self.body
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        self.block.clear();
        let all = self.block.capacity() + self.body.len();
        self.body = Bytes::new();
        // The body was the only other owner, so the part that it had comes back.
        let all_back = self.block.try_reclaim(all);
        if !all_back || self.block.capacity() > self.pages.max_retained {
            return;
        }
        let mut idle = self.pages.idle.lock().unwrap();
        if idle.len() < self.pages.max_idle {
            idle.push(std::mem::take(&mut self.block));
        }
    }
}
