use std::sync::Mutex;

/// Pages that stay where they are, and the numbers of those that are free.
pub(crate) struct Pages {
    slots: Mutex<Vec<Vec<u8>>>,
    free: Mutex<Vec<usize>>,
    max_retained: usize,
}

/// The number of a page.
pub(crate) struct Page<'a> {
    pages: &'a Pages,
    number: usize,
}

impl Pages {
    pub(crate) fn new(_max_idle: usize, max_retained: usize, _typical: usize) -> Pages {
        Pages {
            slots: Mutex::default(),
            free: Mutex::default(),
            max_retained,
        }
    }

    /// An empty page that `write` writes to.
    pub(crate) fn written<E>(
        &self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Page<'_>, E> {
        let free = self.free.lock().unwrap().pop();
        let number = free.unwrap_or_else(|| {
            let mut slots = self.slots.lock().unwrap();
            slots.push(Vec::new());
            slots.len() - 1
        });
        let page = Page { pages: self, number };
        let mut bytes = std::mem::take(&mut self.slots.lock().unwrap()[number]);
        if bytes.capacity() > self.max_retained {
            bytes = Vec::new();
        }
        bytes.clear();
        let written = write(&mut bytes);
        self.slots.lock().unwrap()[number] = bytes;
        written.map(|()| page)
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        self.slots.lock().unwrap().iter().map(Vec::capacity).sum()
    }
}

impl Page<'_> {
    pub(crate) fn len(&self) -> usize {
        self.pages.slots.lock().unwrap()[self.number].len()
    }

    /// Copies the bytes from `from` on; how many there were.
    pub(crate) fn copy(&self, from: usize, piece: &mut [u8]) -> usize {
        let slots = self.pages.slots.lock().unwrap();
        let rest = slots[self.number].get(from..).unwrap_or_default();
        let now = rest.len().min(piece.len());
        piece[..now].copy_from_slice(&rest[..now]);
        now
    }

    /// The page is free again.
    pub(crate) fn release(&self) {
        self.pages.free.lock().unwrap().push(self.number);
    }
}
