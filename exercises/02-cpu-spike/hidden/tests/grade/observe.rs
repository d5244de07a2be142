//! How the checks look at a pipeline from outside.

use cpu_spike_hidden::model::{Answer, Model, excerpt};
use cpu_spike_hidden::subject::{Pipeline, Reject, RuleSpec, Verdict};
use harness::{Failure, OrObserved, Outcome};

/// What stands in the buffer before an event is appended.
const BEFORE: &[u8] = b"[\"written before\",";

pub fn pipeline(rules: &[RuleSpec]) -> Result<Pipeline, Failure> {
    Pipeline::new(rules.to_vec()).or_observed("Pipeline::new refused rules that are in order")
}

/// What the subject makes of one event, and what it appends.
pub fn processed(pipeline: &Pipeline, raw: &[u8]) -> (Result<Verdict, Reject>, Vec<u8>) {
    let mut out = Vec::new();
    let result = pipeline.process(raw, &mut out);
    (result, out)
}

/// The event is answered as the model answers it, and appended to what was there.
pub fn answered(pipeline: &Pipeline, model: &Model, raw: &[u8], because: &str) -> Outcome {
    let mut out = BEFORE.to_vec();
    let result = pipeline.process(raw, &mut out);
    let Some(appended) = out.strip_prefix(BEFORE) else {
        return Err(Failure::new("what stood in `out` before was changed")
            .because("`process` appends to the caller's buffer; what is in it belongs to the caller.")
            .evidence(format!("the event: {}", excerpt(raw))));
    };
    same(&model.answer(raw), result, appended, raw, because)
}

/// An answer is the expected one.
pub fn same(
    expected: &Answer,
    result: Result<Verdict, Reject>,
    appended: &[u8],
    raw: &[u8],
    because: &str,
) -> Outcome {
    match expected.differs(result, appended) {
        None => Ok(()),
        Some(difference) => Err(Failure::new(difference)
            .because(because)
            .evidence(format!("the event: {}", excerpt(raw)))
            .evidence(format!("appended: {}", excerpt(appended)))),
    }
}
