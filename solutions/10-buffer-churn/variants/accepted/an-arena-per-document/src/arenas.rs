use std::sync::Mutex;

use bumpalo::Bump;

/// Arenas of one chunk each, of the size that may be kept.
pub(crate) struct Arenas {
    idle: Mutex<Vec<Bump>>,
    max_idle: usize,
    size: usize,
}

/// What a chunk needs beside its bytes.
const OVERHEAD: usize = 256;

pub(crate) struct Arena<'a> {
    arenas: &'a Arenas,
    pub(crate) bump: Bump,
}

impl Arenas {
    pub(crate) fn new(max_idle: usize, max_retained: usize) -> Arenas {
        Arenas {
            idle: Mutex::new(Vec::with_capacity(max_idle)),
            max_idle,
            size: max_retained,
        }
    }

    pub(crate) fn take(&self) -> Arena<'_> {
        let idle = self.idle.lock().unwrap().pop();
        let bump = idle.unwrap_or_else(|| Bump::with_capacity(self.size - OVERHEAD));
        Arena { arenas: self, bump }
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        self.idle.lock().unwrap().len() * self.size
    }
}

impl Drop for Arena<'_> {
    fn drop(&mut self) {
        self.bump.reset();
        if self.bump.allocated_bytes() > self.arenas.size {
            return;
        }
        let mut idle = self.arenas.idle.lock().unwrap();
        if idle.len() < self.arenas.max_idle {
            idle.push(std::mem::take(&mut self.bump));
        }
    }
}
