use std::sync::Mutex;

/// Pages that are not being written to, for the next document: rendering should not go to the allocator each time.
pub(crate) struct Pages {
    idle: Mutex<Vec<Vec<u8>>>,
    max_idle: usize,
    typical: usize,
}

impl Pages {
    pub(crate) fn new(max_idle: usize, typical: usize) -> Pages {
        Pages {
            idle: Mutex::new(Vec::with_capacity(max_idle)),
            max_idle,
            typical,
        }
    }

    pub(crate) fn take(&self) -> Vec<u8> {
        let idle = self.idle.lock().unwrap().pop();
        idle.unwrap_or_else(|| Vec::with_capacity(self.typical))
    }

    pub(crate) fn give_back(&self, page: Vec<u8>) {
        let mut idle = self.idle.lock().unwrap();
        if idle.len() < self.max_idle {
            idle.push(page);
        }
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        self.idle.lock().unwrap().iter().map(Vec::capacity).sum()
    }
}
