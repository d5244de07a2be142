//! The hidden checks, as a table of contents. Each stands, with its reasons, in the module that is named.

#[path = "grade/burst.rs"]
mod burst;
#[path = "grade/faults.rs"]
mod faults;
#[path = "grade/history.rs"]
mod history;
#[path = "grade/instances.rs"]
mod instances;
#[path = "grade/own.rs"]
mod own;
#[path = "grade/paging.rs"]
mod paging;
#[path = "grade/reading.rs"]
mod reading;
#[path = "grade/twice.rs"]
mod twice;

use harness::{Spec, check};

#[test]
fn a_burst_of_one_customer_is_taken() {
    check!(Spec::default().deadline_s(60), burst::taken);
}

#[test]
fn pages_show_every_event_once_and_in_order() {
    check!(paging::in_order);
}

#[test]
fn what_was_written_before_stays_part_of_the_log() {
    check!(history::kept);
}

#[test]
fn an_event_that_is_sent_again_counts_once() {
    check!(twice::counted_once);
}

#[test]
fn an_answer_is_whole_or_an_error() {
    check!(Spec::default().deadline_s(60), faults::whole);
}

#[test]
fn a_writer_sees_its_own_events() {
    check!(own::seen);
}

#[test]
fn an_acknowledged_event_is_in_the_table() {
    check!(own::durable);
}

#[test]
fn the_larger_setting_sees_what_the_smaller_wrote() {
    check!(instances::rolling);
}

#[test]
fn a_page_is_read_in_few_rounds() {
    check!(reading::cold);
}

#[test]
fn many_readers_cost_what_one_costs() {
    check!(Spec::default().deadline_s(60), reading::busy);
}

#[test]
fn a_small_customer_costs_little() {
    check!(reading::small);
}

#[test]
fn what_is_kept_for_readers_is_bounded() {
    check!(Spec::default().deadline_s(60), reading::bounded);
}
