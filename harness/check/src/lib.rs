//! What a hidden crate links. Read in this order:
//!
//! - [`check!`], [`ensure!`]: how a check is written. [`Spec`]: the runtime and the deadline that it wants.
//! - [`Check`]: what a check is given: its seed, its services, where it puts its figures.
//! - [`Failure`]: what it ends with when the promise is broken.
//! - [`alloc`], [`tasks`]: what a process holds: memory, and who asked for it; tasks that are alive.
//! - [`Machine`]: one instance of a service, stopped while others go on; [`replica`]: one as a process of its own.
//! - [`polls`]: how often a future is polled, to tell waiting from spinning.
//! - [`ratio`], [`instructions`]: what work costs compared with the reference's.
//! - [`preempt`]: a thread that stands still in the middle of what it does.
//! - [`within`]: liveness, "this finishes at all".
//! - [`stuck`]: what is told of a check in which nothing happens any more.
//! - `runner`: a check as a child process, under `xtask` and without it.
//!
//! Nothing here knows a scenario by name, and nothing here links a container client.

pub mod alloc;
mod channel;
mod context;
pub mod dynamodb;
pub mod etcd;
mod failure;
pub mod instructions;
mod machine;
mod panics;
pub mod polls;
pub mod postgres;
pub mod preempt;
pub mod ratio;
pub mod redis;
pub mod replica;
mod runner;
mod spec;
mod standalone;
pub mod stuck;
pub mod sweep;
pub mod tap;
pub mod tasks;
mod wait;
pub mod zookeeper;

pub use context::{Check, HarnessTask, Pulse};
pub use failure::{Failure, OrObserved, Outcome};
pub use machine::{Call, Machine};
pub use spec::Spec;
pub use wait::{eventually, within};

/// Used by [`check!`].
#[doc(hidden)]
pub use runner::{harness_runtime, run};

/// Every program that links the harness counts its allocations. A second global allocator is a build error, which is
/// wanted: memory that is still reachable is freed by no allocator. (A program that is watched on call, and grades nothing,
/// puts its own before this one.)
#[cfg(not(feature = "oncall"))]
#[global_allocator]
static COUNTING: alloc::Counting = alloc::Counting;

/// Runs the body of a `#[test]` as a check: in a process of its own, with a deadline.
///
/// ```ignore
/// #[test]
/// fn disconnected_sessions_end_their_tasks() {
///     check!(Spec::multi_thread(2).deadline_s(20), async |cx: &Check| {
///         ensure!(reached == 0, "a dropped session still owns a task.", "{reached} sessions reached");
///         Ok(())
///     });
/// }
/// ```
#[macro_export]
macro_rules! check {
    ($body:expr $(,)?) => {
        $crate::check!($crate::Spec::default(), $body)
    };
    ($spec:expr, $body:expr $(,)?) => {{
        fn here() {}
        $crate::run(::std::any::type_name_of_val(&here), $spec, $body)
    }};
}

/// Ends the check with a [`Failure`] unless the condition holds: `ensure!(condition, because, observed…)`.
///
/// `because` is the misconception in one sentence; what follows is formatted into what was observed.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $because:expr, $($observed:tt)+) => {
        if !$condition {
            return ::std::result::Result::Err($crate::Failure::new(::std::format!($($observed)+)).because($because));
        }
    };
}
