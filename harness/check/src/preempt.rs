//! A thread that is taken off its processor in the middle of what it does, as a scheduler does to any thread at any moment:
//! whatever lock it holds then stays taken for as long.

#![expect(unsafe_code, reason = "a signal stops a thread wherever it is")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::gettid;

/// How long the thread stands still once the other one has begun: long beside any use of a processor's own, short beside
/// a check. What the other one does may need the lock, and then goes on.
const STILL: Duration = Duration::from_micros(500);

/// How long the thread waits at most for the other one to begin, on a machine that has other things to do.
const BEGIN_MAX: Duration = Duration::from_secs(5);

/// How often the thread does its work at most before it is stopped: the subject may note each time for later.
const WORK_MAX: usize = 1000;

/// How often the thread is stopped outside its work, or not at all, before a round goes on without that.
const ATTEMPTS: usize = 50;

/// One that neither a subject nor a runtime uses, and that harms nobody who has no handler for it.
const SIGNAL: Signal = Signal::SIGURG;

/// Where the thread is, and what it has been told. A signal's handler has nothing but statics.
static WORKING: AtomicBool = AtomicBool::new(false);
static FIRED: AtomicBool = AtomicBool::new(false);
static STOPPED: AtomicBool = AtomicBool::new(false);
static BEGUN: AtomicBool = AtomicBool::new(false);
static ENDED: AtomicBool = AtomicBool::new(false);
static ALONE: Mutex<()> = Mutex::new(());

/// For every round calls `act` while another thread, which does `work` for the same round over and over, stands still
/// somewhere in it. Which place that is differs from round to round; `act` that waits for a lock gets it 0.5 ms later.
///
/// # Panics
/// When `work` or `act` does, or the system gives no timer.
pub fn while_preempted(rounds: usize, work: impl Fn(usize) + Sync, mut act: impl FnMut(usize)) {
    let _alone = ALONE.lock();
    install();
    // How many rounds have been begun, and how many of them the thread is through with.
    let (begun, passed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut timer = timer();
            while !over.load(SeqCst) {
                let round = passed.load(SeqCst);
                if begun.load(SeqCst) > round {
                    stop_once(&mut timer, || work(round));
                    passed.store(round + 1, SeqCst);
                } else {
                    pause();
                }
            }
        });
        // Also when `act` panics, or the scope would wait for the thread for ever.
        let _over = Finally(|| {
            ENDED.store(true, SeqCst);
            over.store(true, SeqCst);
        });
        let until = |holds: &dyn Fn() -> bool| {
            while !holds() && !other.is_finished() {
                pause();
            }
        };
        for round in 0..rounds {
            for flag in [&STOPPED, &BEGUN, &ENDED] {
                flag.store(false, SeqCst);
            }
            begun.store(round + 1, SeqCst);
            let through = || passed.load(SeqCst) > round;
            until(&|| STOPPED.load(SeqCst) || through());
            BEGUN.store(true, SeqCst);
            act(round);
            ENDED.store(true, SeqCst);
            until(&through);
        }
    });
}

/// Works until a signal has stopped it in the middle of that, once.
fn stop_once(timer: &mut Timer, mut work: impl FnMut()) {
    for _ in 0..ATTEMPTS {
        FIRED.store(false, SeqCst);
        let soon = Duration::from_nanos(fastrand::u64(2_000..30_000));
        timer
            .set(Expiration::OneShot(soon.into()), TimerSetTimeFlags::empty())
            .expect("a timer that is there can be set");
        for _ in 0..WORK_MAX {
            WORKING.store(true, SeqCst);
            work();
            WORKING.store(false, SeqCst);
            if STOPPED.load(SeqCst) {
                return;
            }
            if FIRED.load(SeqCst) {
                break;
            }
        }
        while !FIRED.load(SeqCst) {
            pause();
        }
    }
}

/// Gives the processor away for a moment. Who only yields is not asked first when there is something to do again.
fn pause() {
    std::thread::sleep(Duration::from_micros(20));
}

/// Sends [`SIGNAL`] to the thread that calls this.
fn timer() -> Timer {
    let to = SigevNotify::SigevThreadId {
        signal: SIGNAL,
        thread_id: gettid().as_raw(),
        si_value: 0,
    };
    Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(to)).expect("a process has room for a timer")
}

struct Finally<F: FnMut()>(F);

impl<F: FnMut()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn install() {
    let handler = SigHandler::Handler(stand_still);
    let action = SigAction::new(
        handler,
        SaFlags::SA_RESTART | SaFlags::SA_ONSTACK,
        SigSet::empty(),
    );
    // SAFETY: the handler is async-signal-safe: it uses atomics, reads the clock and sleeps.
    unsafe { sigaction(SIGNAL, &action) }.expect("a known signal can be handled");
}

extern "C" fn stand_still(_signal: libc::c_int) {
    if !WORKING.load(SeqCst) || ENDED.load(SeqCst) {
        FIRED.store(true, SeqCst);
        return;
    }
    // What the thread was doing may still want to read it.
    let errno = Errno::last_raw();
    STOPPED.store(true, SeqCst);
    let stopped = Instant::now();
    let mut begun = None;
    while !ENDED.load(SeqCst) {
        if begun.is_none() && BEGUN.load(SeqCst) {
            begun = Some(Instant::now());
        }
        let still = begun.map_or(stopped.elapsed() < BEGIN_MAX, |begun| begun.elapsed() < STILL);
        if !still {
            break;
        }
        let moment = libc::timespec {
            tv_sec: 0,
            tv_nsec: 20_000,
        };
        // SAFETY: sleeps; nothing is written.
        unsafe { libc::nanosleep(&moment, std::ptr::null_mut()) };
    }
    FIRED.store(true, SeqCst);
    Errno::set_raw(errno);
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::while_preempted;

    #[test]
    fn a_lock_is_found_taken_and_is_had_by_who_waits() {
        let lock = Mutex::new(0_u64);
        let (mut taken, mut had) = (0, 0);
        while_preempted(
            200,
            |_| {
                let mut held = lock.lock().unwrap();
                for n in 0..100 {
                    *held = std::hint::black_box(*held + n);
                }
            },
            |_| {
                taken += usize::from(lock.try_lock().is_err());
                had += usize::from(lock.lock().is_ok());
            },
        );
        assert!(taken > 20, "the lock was taken in {taken} of 200 rounds");
        assert_eq!(had, 200);
    }

    #[test]
    fn nobody_waits_for_who_panics() {
        let ended = std::panic::catch_unwind(|| while_preempted(3, |_| panic!("at work"), |_| ()));
        assert!(ended.is_err());
        let ended = std::panic::catch_unwind(|| while_preempted(3, |_| (), |_| panic!("beside it")));
        assert!(ended.is_err());
    }
}
