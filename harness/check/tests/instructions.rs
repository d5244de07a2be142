//! Against the real tool. Without valgrind the same checks are told by CPU time, and say so.

use std::hint::black_box;

use harness::{Check, Spec, check, ensure, instructions};

fn work(rounds: u64) {
    let mut sum = 0_u64;
    for round in 0..rounds {
        sum = black_box(sum.rotate_left(5) ^ round);
    }
    black_box(sum);
}

fn has_valgrind() -> bool {
    std::process::Command::new("valgrind")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn three_times_the_work_is_three_times_the_instructions() {
    check!(Spec::current_thread(), async |cx: &Check| {
        let found = instructions::compare(cx, 4.0, || work(30_000), || work(10_000))?;
        let slack = if has_valgrind() { 0.01 } else { 1.0 };
        ensure!((found.ratio - 3.0).abs() < slack, "Counts repeat.", "{found:?}");
        ensure!(
            found.how.starts_with("by callgrind") == has_valgrind(),
            "The report says which of the two it was.",
            "{found:?}"
        );
        Ok(())
    });
}

#[test]
fn what_is_too_much_for_callgrind_is_told_by_cpu_time() {
    check!(Spec::current_thread(), async |cx: &Check| {
        let long = || {
            let begun = harness::ratio::thread_cpu();
            while harness::ratio::thread_cpu() - begun < std::time::Duration::from_millis(80) {}
        };
        let found = instructions::compare(cx, 4.0, long, || work(10_000))?;
        ensure!(found.ratio > 4.0, "It is far above.", "{found:?}");
        ensure!(
            found.how.starts_with("by CPU time"),
            "It was not worth a minute.",
            "{found:?}"
        );
        Ok(())
    });
}

#[test]
fn a_side_that_dies_under_the_tool_is_told_by_cpu_time() {
    check!(Spec::current_thread(), async |cx: &Check| {
        let dies = || {
            if std::env::var_os("WAR_STORIES_COUNTING").is_some() {
                std::process::abort();
            }
            work(30_000);
        };
        let found = instructions::compare(cx, 4.0, dies, || work(30_000))?;
        ensure!(
            found.how.starts_with("by CPU time"),
            "It did not count.",
            "{found:?}"
        );
        Ok(())
    });
}
