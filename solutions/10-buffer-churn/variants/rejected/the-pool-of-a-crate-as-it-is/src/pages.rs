use object_pool::{Pool, Reusable};

pub(crate) type Page<'a> = Reusable<'a, Vec<u8>>;

pub(crate) struct Pages {
    pool: Pool<Vec<u8>>,
    typical: usize,
}

impl Pages {
    pub(crate) fn new(max_idle: usize, _max_retained: usize, typical: usize) -> Pages {
        Pages {
            pool: Pool::new(max_idle, || Vec::with_capacity(typical)),
            typical,
        }
    }

    pub(crate) fn take(&self) -> Page<'_> {
        let mut page = self.pool.pull(|| Vec::with_capacity(self.typical));
        page.clear();
        page
    }

    pub(crate) fn idle_bytes(&self) -> usize {
        self.pool.len() * self.typical
    }
}
