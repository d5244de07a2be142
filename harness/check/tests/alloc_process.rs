//! Alone in its program: what the whole process allocates is only known when nothing else runs in it.

use harness::alloc;

#[test]
fn ended_threads_stay_in_the_sum_and_exempt_ones_out_of_it() {
    let empty = alloc::process();
    let kept: Vec<Box<[u8; 4096]>> = std::thread::spawn(|| (0..100).map(|_| Box::new([7; 4096])).collect())
        .join()
        .unwrap();
    let before = alloc::process();
    assert!(
        (before - empty).live_bytes >= 100 * 4096,
        "an ended thread's memory is gone from the sum"
    );
    std::thread::spawn(|| {
        alloc::exempt_current_thread();
        std::hint::black_box(vec![1u8; 50 << 20]);
    })
    .join()
    .unwrap();
    assert!(
        (alloc::process() - before).bytes < 50 << 20,
        "an exempt thread was counted"
    );
    // Which of the two threads gives back what they shared is a race, so from here.
    let before = alloc::process();
    drop(kept);
    let freed = (before - alloc::process()).live_bytes;
    assert!(
        freed >= 100 * 4096,
        "freeing elsewhere does not lower the process's live bytes: {freed}"
    );
}
