//! Where a body is written to: a pool behind a lock, a page per thread, memory made anew, or nowhere. The same document,
//! the same serializer; only the memory differs. What is measured is the thread's time on a processor: how long it waits for
//! one says nothing about memory.

use std::cell::Cell;
use std::hint::black_box;
use std::io::{self, Write};
use std::sync::Mutex;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Much like the renderer's own.
#[derive(Serialize)]
struct Document<'a> {
    tenant: &'a str,
    id: u64,
    rows: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    sku: &'a str,
    text: &'a str,
    qty: u32,
}

fn document(text: &str) -> Document<'_> {
    let line = |_| Line {
        sku: "a-1",
        text,
        qty: 2,
    };
    Document {
        tenant: "acme",
        id: 7,
        rows: (0..8).map(line).collect(),
    }
}

thread_local! {
    static PAGE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Hands pieces on; what is done with them costs the same for everybody.
struct Sink<'a>(&'a mut dyn FnMut(&[u8]));

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The time on a processor that `times` bodies take.
fn on_processor(times: u64, mut body: impl FnMut()) -> Duration {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let before = now();
    (0..times).for_each(|_| body());
    now() - before
}

fn memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory");
    for (name, bytes) in [("2 KB", 2 << 10), ("64 KB", 64 << 10), ("1 MiB", 1 << 20)] {
        let text = "x".repeat(bytes / 8);
        let document = document(&text);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("pool behind a lock", name), |bencher| {
            let (pool, mut taken) = (Mutex::new(Vec::new()), Vec::with_capacity(2 * bytes));
            bencher.iter_custom(|times| {
                on_processor(times, || {
                    taken.clear();
                    let mut page: Vec<u8> = pool.lock().unwrap().pop().unwrap_or_default();
                    serde_json::to_writer(&mut page, black_box(&document)).unwrap();
                    taken.extend_from_slice(&page);
                    page.clear();
                    pool.lock().unwrap().push(page);
                })
            });
        });
        group.bench_function(BenchmarkId::new("page per thread", name), |bencher| {
            let mut taken = Vec::with_capacity(2 * bytes);
            bencher.iter_custom(|times| {
                on_processor(times, || {
                    taken.clear();
                    let mut page = PAGE.take();
                    page.clear();
                    serde_json::to_writer(&mut page, black_box(&document)).unwrap();
                    taken.extend_from_slice(&page);
                    PAGE.set(page);
                })
            });
        });
        group.bench_function(BenchmarkId::new("new, growing", name), |bencher| {
            let mut taken = Vec::with_capacity(2 * bytes);
            bencher.iter_custom(|times| {
                on_processor(times, || {
                    taken.clear();
                    let body = serde_json::to_vec(black_box(&document)).unwrap();
                    taken.extend_from_slice(&body);
                })
            });
        });
        group.bench_function(BenchmarkId::new("new, large enough", name), |bencher| {
            let mut taken = Vec::with_capacity(2 * bytes);
            bencher.iter_custom(|times| {
                on_processor(times, || {
                    taken.clear();
                    let mut body = Vec::with_capacity(2 * bytes);
                    serde_json::to_writer(&mut body, black_box(&document)).unwrap();
                    taken.extend_from_slice(&body);
                })
            });
        });
        group.bench_function(BenchmarkId::new("straight into the sink", name), |bencher| {
            let mut taken = Vec::with_capacity(2 * bytes);
            bencher.iter_custom(|times| {
                on_processor(times, || {
                    taken.clear();
                    let mut take = |piece: &[u8]| taken.extend_from_slice(piece);
                    serde_json::to_writer(Sink(&mut take), black_box(&document)).unwrap();
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, memory);
criterion_main!(benches);
