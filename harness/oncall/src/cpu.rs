//! Who is on the processor: a signal some hundred times per second of processor time, at which the interrupted thread
//! walks its frame pointers.
//!
//! Costs nothing while nobody asks. It cannot see waiting, nor who called a function of the C library that uses the
//! frame pointer for something else (`malloc`, mostly): such samples stand alone, under that function's name.

use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::Duration;

use pprof::UnresolvedReport;

use crate::profile::{Profile, Stack};
use crate::symbols::{Place, Symbols};

/// Samples per second of processor time. No divisor of anything that ticks.
const HERTZ: i32 = 199;

/// One at a time: the signal is the process's.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Watches for this long.
///
/// # Errors
/// Somebody else is watching, or the system does not let us.
pub async fn profile(lasts: Duration) -> Result<Profile, String> {
    if BUSY.swap(true, Acquire) {
        return Err("a profile is being taken already; try again when it is done".to_owned());
    }
    let free = Free;
    let guard = pprof::ProfilerGuardBuilder::default()
        .frequency(HERTZ)
        .build()
        .map_err(|error| format!("failed to start the profiler: {error}"))?;
    tokio::time::sleep(lasts).await;
    // Names are looked up in files of some megabytes: not on the thread that serves.
    let looking = tokio::task::spawn_blocking(move || {
        crate::heap::exempt_current_thread();
        let report = guard.report().build_unresolved();
        drop(guard);
        drop(free);
        report.map(resolved)
    });
    let report = looking
        .await
        .map_err(|error| format!("failed to look up names: {error}"))?
        .map_err(|error| format!("failed to read the profile: {error}"))?;
    let period_ns = 1_000_000_000 / i64::from(HERTZ);
    let stacks = report.into_iter().map(|(places, count)| Stack {
        places,
        values: vec![count, count * period_ns],
    });
    Ok(Profile {
        values: vec![("samples", "count"), ("cpu", "nanoseconds")],
        first: "cpu",
        period: ("cpu", "nanoseconds", period_ns),
        duration_ns: i64::try_from(lasts.as_nanos()).unwrap_or(i64::MAX),
        stacks: stacks.collect(),
    })
}

/// Stacks with their names, and how often each was met.
fn resolved(report: UnresolvedReport) -> Vec<(Vec<Place>, i64)> {
    let stacks: Vec<(Vec<usize>, i64)> = report
        .data
        .into_iter()
        .map(|(frames, count)| {
            // The innermost is where the thread was, not where it will return to.
            let addresses = frames.frames.iter().enumerate();
            let addresses = addresses.map(|(depth, frame)| frame.ip + usize::from(depth == 0));
            (addresses.collect(), count as i64)
        })
        .collect();
    let mut symbols = Symbols::default();
    // All at once, so that the program's symbols are read once.
    symbols.of(stacks.iter().flat_map(|(addresses, _)| addresses.iter().copied()));
    let named = stacks.into_iter();
    named
        .map(|(addresses, count)| (symbols.of(addresses), count))
        .collect()
}

/// Lets the next one in, also when whoever asked has gone.
struct Free;

impl Drop for Free {
    fn drop(&mut self) {
        BUSY.store(false, Release);
    }
}
