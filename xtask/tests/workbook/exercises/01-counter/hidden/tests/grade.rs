use counter_hidden::subject::Counter;
use harness::{Check, Spec, alloc, check, ensure};

#[test]
fn a_new_source_counts_one() {
    check!(Spec::current_thread().deadline_s(2), async |cx: &Check| {
        cx.stage("counting one event");
        let mut counter = Counter::default();
        counter.record("a");
        ensure!(counter.count("a") == 1, "The first event is lost.", "{} events", counter.count("a"));
        let before = alloc::process();
        for _ in 0..999 {
            counter.record("a");
        }
        cx.explain("held_bytes", "A log that nobody reads is kept.", [""; 0]);
        cx.measure("held_bytes", (alloc::process() - before).live_bytes as f64);
        Ok(())
    });
}

#[test]
fn every_event_is_counted() {
    check!(Spec::current_thread().deadline_s(2), async |cx: &Check| {
        let mut counter = Counter::default();
        let events = cx.draw("events", &[1_001, 5_000]);
        for _ in 0..events {
            counter.record("a");
        }
        let counted = counter.count("a");
        ensure!(counted == events, "The counter saturates.", "{counted} of {events} events");
        Ok(())
    });
}
