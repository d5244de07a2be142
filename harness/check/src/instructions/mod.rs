//! What work costs compared with the reference's: in instructions, where valgrind is there, in CPU time otherwise.
//!
//! Instructions repeat to the last few on whatever machine, busy or not. [`compare`] runs the program's own check again
//! under callgrind, which counts while each side works once, warm, and no longer: one check, one thread, nothing beside
//! it. That takes about a second, and fifty times the work. Where there is no valgrind, or it does not get to its end,
//! pairs of CPU times are taken instead ([`crate::ratio`]); [`Comparison::how`] says which of the two it was.
//!
//! It counts what the calling thread executes in user space. It cannot see what the kernel does for it, other threads,
//! or caches. Counts depend on the compiler and on the C library, so only ratios are judged. Hash tables with random
//! keys make it vary by a tenth of a percent.

mod child;
mod dump;
mod request;

use std::time::Duration;

use crate::ratio::{self, Clock};
use crate::{Check, Failure};

/// How many times slower a program is under callgrind, at worst.
const SLOWER: u32 = 60;
/// What takes longer than this under callgrind is told by the CPU's time just as well.
const WORTH_MAX: Duration = Duration::from_secs(8);

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The subject's cost divided by the reference's.
    pub ratio: f64,
    /// In which of the two ways, in words for the report.
    pub how: String,
}

/// What `subject` costs as a multiple of `reference`. Both must do their work on the calling thread; each is run once
/// before, unmeasured, to be warm. Call it early in a check, since callgrind runs all of the check up to here.
///
/// `limit` is what the ratio will be compared with: CPU times are taken until they tell on which side of it they lie.
///
/// # Errors
/// Inconclusive, when there is no valgrind and the machine is too noisy.
pub fn compare(
    cx: &Check,
    limit: f64,
    mut subject: impl FnMut(),
    mut reference: impl FnMut(),
) -> Result<Comparison, Failure> {
    if child::asked() {
        child::work(&mut subject, &mut reference);
    }
    let mut once = Duration::ZERO;
    for side in [&mut subject as &mut dyn FnMut(), &mut reference] {
        side();
        once += Clock::ThreadCpu.time(&mut || side());
    }
    let counted = if once * 2 * SLOWER > WORTH_MAX {
        Err(format!("under callgrind it would take {:.0?}", once * 2 * SLOWER))
    } else {
        cx.stage("callgrind counts instructions");
        child::count(&cx.job)
    };
    match counted {
        Ok(counts) => Ok(Comparison {
            ratio: counts.subject as f64 / counts.reference.max(1) as f64,
            how: format!(
                "by callgrind: {} instructions, the reference {}",
                counts.subject, counts.reference
            ),
        }),
        Err(why) => {
            cx.stage("comparing CPU times");
            let ratio = ratio::measure(Clock::ThreadCpu, limit, subject, reference).ratio()?;
            Ok(Comparison {
                ratio,
                how: format!("by CPU time, the median of pairs ({why})"),
            })
        }
    }
}
