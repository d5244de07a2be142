use std::fmt::Display;

use verdict::Verdict;

/// What a check's body returns.
pub type Outcome = Result<(), Failure>;

/// Why a check did not pass: what was observed, the misconception behind it, and the evidence.
#[derive(Clone, Debug)]
pub struct Failure {
    pub(crate) verdict: Verdict,
    pub(crate) observed: String,
    pub(crate) because: Option<String>,
    pub(crate) evidence: Vec<String>,
}

impl Failure {
    /// The promise was broken; `observed` says in one sentence what was seen.
    pub fn new(observed: impl Into<String>) -> Failure {
        Failure {
            verdict: Verdict::Fail,
            observed: observed.into(),
            because: None,
            evidence: Vec::new(),
        }
    }

    /// The machine could not tell.
    pub fn inconclusive(reason: impl Into<String>) -> Failure {
        Failure {
            verdict: Verdict::Inconclusive,
            ..Failure::new(reason)
        }
    }

    /// A service or tool is missing or broken: nobody's fault who is graded here.
    pub fn environment(reason: impl Into<String>) -> Failure {
        Failure {
            verdict: Verdict::Environment,
            ..Failure::new(reason)
        }
    }

    /// The misconception in one sentence; it ends with a period.
    pub fn because(mut self, because: impl Into<String>) -> Failure {
        self.because = Some(because.into());
        self
    }

    /// One more line of what was seen. A text of several lines stays together.
    pub fn evidence(mut self, line: impl Into<String>) -> Failure {
        self.evidence.push(line.into());
        self
    }

    /// Whether this blames the submission (and not the machine).
    pub fn is_fail(&self) -> bool {
        self.verdict == Verdict::Fail
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.observed)
    }
}

/// Turns what the subject returned into a [`Failure`] that says what was being done.
pub trait OrObserved<T> {
    /// `observed` fits before a colon: "publish returned an error".
    fn or_observed(self, observed: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> OrObserved<T> for Result<T, E> {
    fn or_observed(self, observed: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("{observed}: {error}")))
    }
}

impl<T> OrObserved<T> for Option<T> {
    fn or_observed(self, observed: impl Display) -> Result<T, Failure> {
        self.ok_or_else(|| Failure::new(observed.to_string()))
    }
}
