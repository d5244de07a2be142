//! Requests to the tool that runs this program, if one does.
//!
//! A request is five instructions that do nothing on a real machine and that valgrind takes for a call. Nothing has to
//! be linked, and no header is needed.

#![expect(unsafe_code, reason = "a request to valgrind is a sequence of instructions")]

use std::ffi::CStr;

const RUNNING_ON_VALGRIND: u64 = 0x1001;
/// `'C' 'T'`, callgrind's own numbers.
const CALLGRIND: u64 = 0x4354_0000;
const ZERO_STATS: u64 = CALLGRIND + 1;
const TOGGLE_COLLECT: u64 = CALLGRIND + 2;
const DUMP_STATS_AT: u64 = CALLGRIND + 3;

/// Whether valgrind runs this process.
pub(super) fn under_valgrind() -> bool {
    request(RUNNING_ON_VALGRIND, 0) != 0
}

/// Starts or stops counting on this thread.
pub(super) fn toggle_collect() {
    request(TOGGLE_COLLECT, 0);
}

/// Forgets what was counted.
pub(super) fn zero() {
    request(ZERO_STATS, 0);
}

/// Writes what was counted since the last dump to a file that says `name`.
pub(super) fn dump(name: &CStr) {
    request(DUMP_STATS_AT, name.as_ptr() as u64);
}

#[cfg(target_arch = "x86_64")]
fn request(code: u64, argument: u64) -> u64 {
    let words: [u64; 6] = [code, argument, 0, 0, 0, 0];
    let mut answer: u64 = 0;
    // SAFETY: the four rotations turn `rdi` by 128 bits, which is by none, and the exchange swaps a register with
    // itself. Under valgrind the tool reads the six words that `rax` points to, which live to the end of this
    // function, and writes `rdx`; a string that it is given is read before it answers.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") words.as_ptr(),
            inout("rdx") answer,
            out("rdi") _,
            options(nostack),
        );
    }
    answer
}

/// Elsewhere the time of the CPU is compared instead.
#[cfg(not(target_arch = "x86_64"))]
fn request(_code: u64, _argument: u64) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_valgrind_requests_do_nothing() {
        assert!(!under_valgrind());
        toggle_collect();
        zero();
        dump(c"nothing");
        toggle_collect();
    }
}
