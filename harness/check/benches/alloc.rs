//! Counting allocations against the system's allocator and `dhat`.
//!
//! `cargo bench -p harness --bench alloc`. The aim is at most 2 ns over the system's allocator for a request and its
//! return together. The last lines compare in interleaved pairs and hold on a busy machine too.

#![expect(
    unsafe_code,
    reason = "allocators are called directly, beside the program's own"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use harness::alloc::Counting;
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Requests of each timed stretch.
const REQUESTS: u32 = 20_000;
const PAIRS: usize = 101;

/// What most requests of a service look like.
const LAYOUT: Layout = match Layout::from_size_align(64, 8) {
    Ok(layout) => layout,
    Err(_) => panic!("a size and an alignment"),
};

fn request_and_return(allocator: &impl GlobalAlloc) {
    // SAFETY: the layout has a size; what is returned is what was given, by the same allocator, with the same layout;
    // a null pointer is only passed on to `dealloc`, which the system's allocator takes for nothing to do.
    unsafe {
        let memory = black_box(allocator.alloc(black_box(LAYOUT)));
        allocator.dealloc(memory, LAYOUT);
    }
}

fn stretch(allocator: &impl GlobalAlloc) -> Duration {
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        request_and_return(allocator);
    }
    begun.elapsed()
}

fn one_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a request and its return");
    group
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500));
    group.bench_function("system", |b| b.iter(|| request_and_return(&System)));
    group.bench_function("counting", |b| b.iter(|| request_and_return(&Counting)));
    let profiler = dhat::Profiler::builder().testing().build();
    group.bench_function("dhat", |b| b.iter(|| request_and_return(&dhat::Alloc)));
    drop(profiler);
    group.finish();
}

/// The same on two threads at once, where counters that are shared would show.
fn two_threads(criterion: &mut Criterion) {
    fn together(allocator: &(impl GlobalAlloc + Sync), requests: u64) -> Duration {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..requests).for_each(|_| request_and_return(allocator)));
            }
        });
        begun.elapsed()
    }
    let mut group = criterion.benchmark_group("a request and its return, on two threads");
    group
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500));
    group.bench_function("system", |b| {
        b.iter_custom(|requests| together(&System, requests))
    });
    group.bench_function("counting", |b| {
        b.iter_custom(|requests| together(&Counting, requests))
    });
    group.finish();
}

/// Pairs of stretches, one right after the other: the median difference is the counting's own cost.
fn interleaved(_: &mut Criterion) {
    let mut more: Vec<f64> = (0..PAIRS)
        .map(|_| {
            let (system, counting) = (stretch(&System), stretch(&Counting));
            (counting.as_secs_f64() - system.as_secs_f64()) * 1e9 / f64::from(REQUESTS)
        })
        .collect();
    more.sort_by(f64::total_cmp);
    let (low, median, high) = (more[PAIRS / 4], more[PAIRS / 2], more[PAIRS * 3 / 4]);
    println!("counting, over the system's allocator: {median:.2} ns (quartiles {low:.2} to {high:.2})");
}

criterion_group!(benches, one_thread, two_threads, interleaved);
criterion_main!(benches);
