//! Where each thread of this process stands, blocked ones included: a signal makes a thread walk its own frame pointers.
//!
//! Costs a few system calls per thread, and interrupts what the threads wait in, so it is a last act. It cannot see
//! frames of code built without frame pointers (the C library's), nor more than [`FRAMES`] of them, nor a thread that
//! has blocked the signal.

#![expect(unsafe_code, reason = "a signal handler that walks the stack it interrupted")]

/// Addresses kept per thread.
const FRAMES: usize = 96;

/// A thread, and the addresses it will return to, innermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ThreadStack {
    pub name: String,
    pub frames: Vec<usize>,
}

/// All threads but the calling one. Empty where this is not supported.
pub(super) fn all() -> Vec<ThreadStack> {
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    return linux::all();
    #[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
    return Vec::new();
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod linux {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::*};
    use std::time::{Duration, Instant};

    use nix::libc;

    use super::{FRAMES, ThreadStack};

    /// How long a thread may take to answer.
    const ANSWER_MAX: Duration = Duration::from_millis(100);
    /// Mappings that a stack is looked for in.
    const MAPPINGS: usize = 4096;

    /// What passes between the asking thread and the handler. Only atomics: a handler may take no lock.
    struct Slip {
        /// The thread that is asked; 0 for nobody, so that an answer that comes late is not written over another's.
        asked: AtomicI32,
        /// Frames found and one more, once the thread has answered.
        answered: AtomicUsize,
        frames: [AtomicUsize; FRAMES],
        /// Readable memory as pairs of first and last address, from `/proc/self/maps`.
        mappings: [AtomicUsize; 2 * MAPPINGS],
    }

    static SLIP: Slip = Slip {
        asked: AtomicI32::new(0),
        answered: AtomicUsize::new(0),
        frames: [const { AtomicUsize::new(0) }; FRAMES],
        mappings: [const { AtomicUsize::new(0) }; 2 * MAPPINGS],
    };
    /// One dump at a time.
    static DUMPING: Mutex<()> = Mutex::new(());

    pub fn all() -> Vec<ThreadStack> {
        let _alone = DUMPING.lock();
        let signal = libc::SIGRTMIN() + 7;
        if !install(signal) {
            return Vec::new();
        }
        note_mappings();
        // SAFETY: asks for a number.
        let own = unsafe { libc::gettid() };
        let mut stacks = Vec::new();
        for entry in std::fs::read_dir("/proc/self/task")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let Some(tid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if tid == own {
                continue;
            }
            let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            stacks.push(ThreadStack {
                name: comm.trim().to_owned(),
                frames: ask(tid, signal),
            });
        }
        stacks
    }

    fn install(signal: i32) -> bool {
        // SAFETY: the handler is async-signal-safe: it uses atomics, reads memory that is mapped, and asks for its own
        // number. It runs on the interrupted stack, or on the alternative one that the standard library has set up.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = answer as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, std::ptr::null_mut()) == 0
        }
    }

    fn note_mappings() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let ranges = maps.lines().filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (low, high) = range.split_once('-')?;
            let address = |text| usize::from_str_radix(text, 16).ok();
            rest.starts_with("rw").then_some((address(low)?, address(high)?))
        });
        let mut pairs = SLIP.mappings.chunks_exact(2);
        for (low, high) in ranges {
            let Some(pair) = pairs.next() else { return };
            pair[0].store(low, Relaxed);
            pair[1].store(high, Relaxed);
        }
        for pair in pairs {
            pair[0].store(0, Relaxed);
            pair[1].store(0, Relaxed);
        }
    }

    fn ask(tid: i32, signal: i32) -> Vec<usize> {
        SLIP.answered.store(0, Relaxed);
        SLIP.asked.store(tid, SeqCst);
        // SAFETY: sends a signal to a thread of this process; one that has ended makes it an error.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal) } == 0;
        let begun = Instant::now();
        while sent && SLIP.answered.load(Acquire) == 0 && begun.elapsed() < ANSWER_MAX {
            std::thread::sleep(Duration::from_micros(200));
        }
        SLIP.asked.store(0, SeqCst);
        let found = SLIP.answered.load(Acquire).saturating_sub(1).min(FRAMES);
        SLIP.frames[..found]
            .iter()
            .map(|frame| frame.load(Relaxed))
            .collect()
    }

    extern "C" fn answer(_signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: asks for a number.
        let own = unsafe { libc::gettid() };
        if SLIP.asked.load(SeqCst) != own {
            return;
        }
        // SAFETY: the kernel passes the interrupted thread's registers.
        let (pc, sp, fp) = unsafe { registers(&*context.cast::<libc::ucontext_t>()) };
        let found = walk(pc, sp, fp);
        SLIP.answered.store(found + 1, Release);
    }

    #[cfg(target_arch = "x86_64")]
    fn registers(context: &libc::ucontext_t) -> (usize, usize, usize) {
        let of = |register: i32| context.uc_mcontext.gregs[register as usize] as usize;
        (of(libc::REG_RIP), of(libc::REG_RSP), of(libc::REG_RBP))
    }

    #[cfg(target_arch = "aarch64")]
    fn registers(context: &libc::ucontext_t) -> (usize, usize, usize) {
        let machine = &context.uc_mcontext;
        (
            machine.pc as usize,
            machine.sp as usize,
            machine.regs[29] as usize,
        )
    }

    /// Follows the frame pointers as long as they lie in the stack's mapping and lead upwards.
    fn walk(pc: usize, sp: usize, fp: usize) -> usize {
        let stack = SLIP.mappings.chunks_exact(2).find_map(|pair| {
            let (low, high) = (pair[0].load(Relaxed), pair[1].load(Relaxed));
            (low <= sp && sp < high).then_some(high)
        });
        SLIP.frames[0].store(pc, Relaxed);
        let (Some(high), mut frame, mut found) = (stack, fp, 1) else {
            return 1;
        };
        let word = size_of::<usize>();
        while found < FRAMES && frame >= sp && frame.is_multiple_of(word) && frame + 2 * word <= high {
            // SAFETY: the two words lie above the stack pointer within the mapping that it lies in, and are aligned.
            let (next, address) = unsafe { (*(frame as *const usize), *(frame as *const usize).add(1)) };
            if address == 0 {
                break;
            }
            SLIP.frames[found].store(address, Relaxed);
            found += 1;
            if next <= frame {
                break;
            }
            frame = next;
        }
        found
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    #[inline(never)]
    fn waits_for_the_lock(lock: &Mutex<()>) {
        drop(lock.lock());
        std::hint::black_box(());
    }

    #[test]
    fn a_blocked_thread_is_seen_where_it_stands() {
        let lock = Arc::new(Mutex::new(()));
        let held = lock.lock().unwrap();
        let theirs = lock.clone();
        let (sender, started) = mpsc::channel();
        let blocked = std::thread::Builder::new()
            .name("blocked-one".to_owned())
            .spawn(move || {
                sender.send(()).unwrap();
                waits_for_the_lock(&theirs);
            })
            .unwrap();
        started.recv().unwrap();
        // It has said that it is about to; that it is there is seen by its stack.
        let names = std::iter::repeat_with(|| {
            let stacks = super::all();
            let stack = stacks.iter().find(|stack| stack.name == "blocked-one").unwrap();
            super::super::words::names(&stack.frames)
        });
        let seen = names
            .take(200)
            .find(|names| names.iter().any(|name| name.contains("waits_for_the_lock")));
        drop(held);
        blocked.join().unwrap();
        assert!(seen.is_some());
    }
}
