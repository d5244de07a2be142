//! Whether anything goes on at all in this process.
//!
//! A deadline says that a thread is slow, on a busy machine as well as in a deadlock. What tells them apart is that in a
//! deadlock nobody even wants to run: every thread sleeps, and none has been woken for a while. Read from the kernel, a
//! few files per look; without them (on other systems) deadlines decide.

use std::fs;
use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use harness::alloc;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// For how long nobody may have moved. Nothing that is graded waits for a clock.
const STILL: Duration = Duration::from_secs(3);

/// What is waited for at most. Here a standstill is seen, and whoever spins is stopped with its process; on other systems a
/// deadline has to do.
const PATIENCE: Duration = Duration::from_secs(if cfg!(target_os = "linux") { 3600 } else { 90 });

/// Whether nobody moves, as of the last look.
static STANDSTILL: Mutex<bool> = Mutex::new(false);

/// Rings when nobody moves any more, and when [`ring`] is called.
static BELL: Condvar = Condvar::new();

/// Starts to look, if nobody does yet. What that allocates is the harness's own business.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::thread::spawn(|| {
            alloc::exempt_current_thread();
            look();
        });
    });
}

fn look() {
    let (mut last, mut since) = (Vec::new(), Instant::now());
    loop {
        std::thread::sleep(LOOK);
        let now = switches().unwrap_or_default();
        if now.is_empty() || now != last {
            (last, since) = (now, Instant::now());
        }
        let still = since.elapsed() >= STILL;
        *STANDSTILL.lock().unwrap_or_else(PoisonError::into_inner) = still;
        if still {
            BELL.notify_all();
        }
    }
}

/// Those who wait in [`until`] ask again.
pub fn ring() {
    drop(STANDSTILL.lock());
    BELL.notify_all();
}

/// Asks after each [`ring`] until the answer is `Some`; `Err` says why it is not waited for any longer. Allocates nothing.
pub fn until<T>(mut ask: impl FnMut() -> Option<T>) -> Result<T, &'static str> {
    let begun = Instant::now();
    let mut still = STANDSTILL.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if *still {
            return Err("every thread of the process sleeps, and nobody wakes another");
        }
        let Some(left) = PATIENCE.checked_sub(begun.elapsed()) else {
            return Err("it was waited for long enough");
        };
        (still, _) = BELL
            .wait_timeout(still, left)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// How often each of the other threads, the watchdog aside, was given and left a processor, all of them asleep now. `None` if one is not, or
/// if it cannot be told.
fn switches() -> Option<Vec<u64>> {
    let own = fs::read_link("/proc/thread-self").ok()?;
    let mut switches = Vec::new();
    for thread in fs::read_dir("/proc/self/task").ok()?.flatten() {
        if Some(thread.file_name().as_os_str()) == own.file_name() {
            continue;
        }
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        // It wakes up all the time, to see whether others do.
        if field("Name:") == Some("watchdog") {
            continue;
        }
        if !field("State:")?.starts_with('S') {
            return None;
        }
        let count = |name| field(name)?.parse::<u64>().ok();
        switches.push(count("voluntary_ctxt_switches:")? + count("nonvoluntary_ctxt_switches:")?);
    }
    Some(switches)
}
