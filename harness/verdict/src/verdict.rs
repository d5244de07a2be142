use std::fmt;

use serde::{Deserialize, Serialize};

/// How a check, a budget or a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The promise was kept.
    Pass,
    /// The promise was broken, and the evidence says how.
    Fail,
    /// The machine could not tell; the reason is given. Never the learner's fault, never a pass.
    Inconclusive,
    /// A service or tool is missing or broken. Never scored.
    Environment,
}

impl Verdict {
    /// The mark that stands in front of a line. It differs by shape, so nothing rests on colour.
    pub fn mark(self) -> &'static str {
        match self {
            Verdict::Pass => "✓",
            Verdict::Fail => "✗",
            Verdict::Inconclusive => "?",
            Verdict::Environment => "!",
        }
    }

    /// What several verdicts come to: a failure outweighs a broken machine, which outweighs a doubt.
    pub fn all(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        verdicts
            .into_iter()
            .max_by_key(|verdict| verdict.weight())
            .unwrap_or(Verdict::Pass)
    }

    fn weight(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Inconclusive => 1,
            Verdict::Environment => 2,
            Verdict::Fail => 3,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Environment => "environment",
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::Verdict::{self, *};

    #[rstest]
    #[case(&[], Pass)]
    #[case(&[Pass, Pass], Pass)]
    #[case(&[Pass, Inconclusive], Inconclusive)]
    #[case(&[Environment, Inconclusive], Environment)]
    #[case(&[Pass, Environment, Fail, Inconclusive], Fail)]
    fn the_worst_verdict_decides(#[case] verdicts: &[Verdict], #[case] expected: Verdict) {
        assert_eq!(Verdict::all(verdicts.iter().copied()), expected);
    }
}
