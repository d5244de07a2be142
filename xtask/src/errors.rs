//! What the learner, the author or the machine caused. Anything that is not one of these is our bug and says so.

use std::fmt;
use std::path::PathBuf;

use verdict::ExitCode;

/// An error that somebody can act on: what is wrong, where, and what to type next.
#[derive(Debug)]
pub enum Error {
    /// No workbook here.
    NoWorkbook { looked_from: PathBuf },
    /// A scenario that does not exist.
    UnknownScenario { asked: String, near: Vec<String> },
    /// A check that does not exist.
    UnknownCheck { asked: String, near: Vec<String> },
    /// A variant that does not exist.
    UnknownVariant { asked: String, near: Vec<String> },
    /// A manifest or another of the author's files is wrong.
    Slip { file: PathBuf, what: String },
    /// A submission that cannot be taken as it is.
    Submission { what: String, next: String },
    /// Something outside the workbook is missing or broken.
    Environment { what: String, next: String },
    /// The command cannot be carried out as asked.
    Usage { what: String, next: String },
}

impl Error {
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Environment { .. } => ExitCode::Environment,
            _ => ExitCode::Usage,
        }
    }

    pub fn slip(file: impl Into<PathBuf>, what: impl Into<String>) -> Error {
        Error::Slip {
            file: file.into(),
            what: what.into(),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoWorkbook { looked_from } => {
                write!(
                    f,
                    "no workbook in {} or above it\n  next  cd into the workbook",
                    looked_from.display()
                )
            }
            Error::UnknownScenario { asked, near } => unknown(f, "scenario", asked, near, "cargo xtask"),
            Error::UnknownCheck { asked, near } => {
                unknown(f, "check", asked, near, "cargo xtask grade SCENARIO")
            }
            Error::UnknownVariant { asked, near } => {
                unknown(f, "variant", asked, near, "cargo xtask verify SCENARIO")
            }
            Error::Slip { file, what } => {
                write!(
                    f,
                    "{}: {what}\n  next  mend it, then cargo xtask verify",
                    file.display()
                )
            }
            Error::Submission { what, next }
            | Error::Environment { what, next }
            | Error::Usage { what, next } => {
                write!(f, "{what}\n  next  {next}")
            }
        }
    }
}

fn unknown(f: &mut fmt::Formatter<'_>, what: &str, asked: &str, near: &[String], next: &str) -> fmt::Result {
    write!(f, "no {what} is called {asked}")?;
    if !near.is_empty() {
        write!(f, "; near it: {}", near.join(", "))?;
    }
    write!(f, "\n  next  {next}")
}

/// The error as the terminal shows it.
pub fn rendered(error: &anyhow::Error) -> String {
    if let Some(known) = error.downcast_ref::<Error>() {
        return format!("error: {known}");
    }
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    format!(
        "error: {}\n  this is a bug of the workbook's own tools; please report it with the command",
        causes.join(": ")
    )
}

pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    error
        .downcast_ref::<Error>()
        .map_or(ExitCode::Environment, Error::exit_code)
}

/// The known words nearest to what was asked for, at most three.
pub fn near<'a>(asked: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(asked, word), word))
        .filter(|(s, _)| *s > 0.6)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored
        .into_iter()
        .take(3)
        .map(|(_, word)| word.to_owned())
        .collect()
}
