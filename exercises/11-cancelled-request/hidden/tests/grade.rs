//! The hidden checks, as a table of contents. Each stands, with its reasons, in the module that is named.

#[path = "grade/deadlines.rs"]
mod deadlines;
#[path = "grade/departures.rs"]
mod departures;
#[path = "grade/innocents.rs"]
mod innocents;
#[path = "grade/pool.rs"]
mod pool;
#[path = "grade/records.rs"]
mod records;
#[path = "grade/shutdown.rs"]
mod shutdown;
#[path = "grade/waited.rs"]
mod waited;
#[path = "grade/waiting.rs"]
mod waiting;

use harness::{Spec, check};

/// Where a calculation that is held may occupy a worker of the runtime, the others have to do its work.
const WORKERS: Spec = Spec::multi_thread(4);

#[test]
fn a_calculation_ends_with_its_client() {
    check!(WORKERS, departures::during_the_calculation);
}

#[test]
fn a_statement_ends_with_its_client() {
    check!(departures::during_the_statement);
}

#[test]
fn a_large_upload_hides_no_departure() {
    check!(WORKERS, departures::after_an_upload);
}

#[test]
fn impatient_clients_leave_the_pool_usable() {
    check!(pool::usable);
}

#[test]
fn nobody_elses_statement_is_hit() {
    check!(Spec::default().deadline_s(60), innocents::not_hit);
}

#[test]
fn departures_do_not_pile_up_sessions() {
    check!(Spec::default().deadline_s(60), pool::sessions);
}

#[test]
fn a_report_given_up_anywhere_leaves_whole_records() {
    check!(Spec::default().deadline_s(60), records::whole);
}

#[test]
fn reports_that_are_waited_for_are_finished() {
    check!(WORKERS, waited::finished);
}

#[test]
fn a_deadline_ends_the_work() {
    check!(WORKERS, deadlines::end_the_work);
}

#[test]
fn shutdown_finishes_or_ends_every_report() {
    check!(Spec::default().deadline_s(60), shutdown::ends_everything);
}

#[test]
fn a_report_that_waits_for_a_connection_can_be_given_up() {
    check!(waiting::for_a_connection);
}

#[test]
fn the_price_request_ends_with_its_client() {
    check!(waiting::for_the_price);
}
