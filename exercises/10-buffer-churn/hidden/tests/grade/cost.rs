//! What a document costs the allocator, and the settings under which it is asked.

use std::sync::Arc;

use buffer_churn_hidden::subject::{Render, RenderCfg};
use harness::alloc::{self, Heap};
use harness::{Check, Outcome};

/// What one document costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    pub allocations: f64,
    pub bytes: f64,
}

/// Windows that are looked at before it is given up that two of them agree.
const WINDOWS_MAX: usize = 8;

/// Two windows agree when they differ by less than this share of an allocation per document.
const AGREE: f64 = 0.005;

/// The cost of a document from equal windows of `documents`: of the first two in a row that agree, once the first of all
/// has passed; of the last two, if none do. `window` does the work and says what was asked of the allocator for it.
pub fn cost(
    documents: usize,
    mut window: impl FnMut() -> Result<Heap, harness::Failure>,
) -> Result<Cost, harness::Failure> {
    let per_document = |heap: Heap| Cost {
        allocations: heap.allocations as f64 / documents as f64,
        bytes: heap.bytes as f64 / documents as f64,
    };
    window()?;
    let mut before = per_document(window()?);
    for _ in 2..WINDOWS_MAX {
        let now = per_document(window()?);
        if (now.allocations - before.allocations).abs() < AGREE {
            return Ok(mean(before, now));
        }
        before = now;
    }
    Ok(mean(before, per_document(window()?)))
}

fn mean(a: Cost, b: Cost) -> Cost {
    Cost {
        allocations: (a.allocations + b.allocations) / 2.0,
        bytes: (a.bytes + b.bytes) / 2.0,
    }
}

/// What the process asked for while `work` ran, the harness's own thread left out.
pub fn counted(work: impl FnOnce() -> Outcome) -> Result<Heap, harness::Failure> {
    let before = alloc::process();
    work()?;
    Ok(alloc::process() - before)
}

/// What the subject may keep when all is over: [`settings`] are drawn so that it is always the same.
pub const MAY_KEEP: i64 = (1 << 20) + (256 << 10);

/// Threads of a check that render, at most; `max_idle` is never below.
pub const THREADS_MAX: usize = 8;

pub fn settings(cx: &Check) -> RenderCfg {
    let (max_idle, max_retained) = cx.draw("max_idle, max_retained", &[(8, 128 << 10), (16, 64 << 10)]);
    RenderCfg {
        max_idle,
        max_retained,
        typical: cx.draw("typical", &[2048, 2560, 3072]),
    }
}

pub fn renderer(cfg: &RenderCfg) -> Arc<Render> {
    Arc::new(Render::new(cfg.clone()))
}

pub fn kib(bytes: i64) -> String {
    format!("{} KiB", bytes / 1024)
}
