//! What an engineer on call has, beside a service under traffic. Read in this order:
//!
//! - [`run`], [`incident!`]: how a program of a hidden crate begins; [`Shift`]: what its traffic is given.
//! - [`arrivals`]: traffic that waits for nobody.
//! - `series`: what is watched, by name and unit; `calls`: requests, counted from when they were due.
//! - `reading`: what was seen and when; `chart`: which of it is drawn; `page`, `svg`: how; `keep`: what stays of it.
//! - `metrics`, `dashboard`: the same for Prometheus and Grafana.
//! - [`Recording`] and `heap`: who holds memory; `cpu`: who is on the processor; `profile`, `flame`: how that is written.
//! - `tasks`: who waits for what.
//! - [`postgres`], [`pgbouncer`], [`redis`], [`dynamodb`], [`etcd`]: the servers' own views. `view`: how they come to the page.
//! - `server`: where all of it answers, on a thread and a runtime of its own.
//!
//! Nothing here knows a scenario by name, and nothing here is linked into a graded program.

mod arrivals;
mod calls;
mod chart;
mod cpu;
mod dashboard;
pub mod dynamodb;
pub mod etcd;
mod flame;
mod heap;
mod html;
mod keep;
mod metrics;
mod page;
pub mod pgbouncer;
pub mod postgres;
mod process;
mod profile;
mod reading;
pub mod redis;
mod run;
mod series;
mod server;
mod shift;
mod svg;
mod symbols;
mod tasks;
mod view;

pub use arrivals::arrivals;
pub use calls::{Calls, Due};
pub use heap::Recording;
pub use run::{Incident, run};
pub use series::{Kind, Unit};
pub use shift::{Charted, Dial, Shift};
pub use view::{Table, View};

/// The incident of the hidden crate that calls this.
#[macro_export]
macro_rules! incident {
    () => {
        $crate::Incident {
            room: ::std::env!("CARGO_MANIFEST_DIR"),
            readme: ::std::include_str!(::std::concat!(::std::env!("CARGO_MANIFEST_DIR"), "/../README.md")),
            reference: !::std::cfg!(feature = "exercise"),
        }
    };
}
