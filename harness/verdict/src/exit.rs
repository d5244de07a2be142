use crate::Verdict;

/// What `cargo xtask` exits with. With several causes the first of 3, 1, 4, 5 is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All that was asked for passed.
    Passed = 0,
    /// Something failed.
    Failed = 1,
    /// The command line or a file of the workbook could not be understood.
    Usage = 2,
    /// A submission does not compile.
    DoesNotCompile = 3,
    /// A service or a tool is missing or broken.
    Environment = 4,
    /// The machine could not tell, and nothing failed.
    Inconclusive = 5,
}

impl ExitCode {
    /// What one scenario's end means for the exit code; `compiled` is false when its build failed.
    pub fn of(verdict: Verdict, compiled: bool) -> ExitCode {
        match verdict {
            _ if !compiled => ExitCode::DoesNotCompile,
            Verdict::Pass => ExitCode::Passed,
            Verdict::Fail => ExitCode::Failed,
            Verdict::Environment => ExitCode::Environment,
            Verdict::Inconclusive => ExitCode::Inconclusive,
        }
    }

    /// What is told when several scenarios ended differently.
    pub fn first_told(codes: impl IntoIterator<Item = ExitCode>) -> ExitCode {
        const ORDER: [ExitCode; 6] = [
            ExitCode::Usage,
            ExitCode::DoesNotCompile,
            ExitCode::Failed,
            ExitCode::Environment,
            ExitCode::Inconclusive,
            ExitCode::Passed,
        ];
        let rank = |code: &ExitCode| ORDER.iter().position(|known| known == code);
        codes.into_iter().min_by_key(rank).unwrap_or(ExitCode::Passed)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::ExitCode::{self, *};

    #[rstest]
    #[case(&[Passed, Inconclusive], Inconclusive)]
    #[case(&[Inconclusive, Environment, Passed], Environment)]
    #[case(&[Environment, Failed], Failed)]
    #[case(&[Failed, DoesNotCompile, Environment], DoesNotCompile)]
    #[case(&[], Passed)]
    fn with_several_causes_the_first_of_3_1_4_5_is_told(#[case] codes: &[ExitCode], #[case] told: ExitCode) {
        assert_eq!(ExitCode::first_told(codes.iter().copied()), told);
    }
}
