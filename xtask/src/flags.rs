//! Every flag of every command.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  0  all that was asked for passed
  1  something failed
  2  the command line, or a file of the workbook, could not be understood
  3  a submission does not compile
  4  a service or a tool is missing or broken
  5  the machine could not tell, and nothing failed
With several causes the first of 3, 1, 4, 5 is told.";

/// War Stories: production incidents to be fixed, graded.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES, max_term_width = 80)]
pub struct Flags {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the scenarios with state and score (what `cargo xtask` alone does)
    List(List),
    /// Grade your fix: hidden checks, then budgets against the reference
    #[command(after_help = EXIT_CODES)]
    Grade(Grade),
    /// Watch the service break, with the tools that you would have on call
    Incident(Incident),
    /// The author's proof: exercise, reference and every variant give what they declare
    Verify(Verify),
    /// The next hint for a check
    Hint(Hint),
    /// The post-mortem, and how your fix differs from the reference
    Debrief(Debrief),
    /// Keep servers running between grades
    Services(Services),
    /// What is there, what is missing, what to type
    Doctor(Doctor),
}

impl Default for Command {
    fn default() -> Self {
        Command::List(List { format: Format::Text })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object on standard output
    Json,
}

/// How servers are had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ServiceMode {
    /// Containers, then programs on this machine, then the distribution's packages unpacked in a cache
    #[default]
    Auto,
    /// Containers or nothing
    Containers,
    /// Programs on this machine or fetched, never containers
    Local,
}

/// Whether a check that is stuck is run again in the diagnosis build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Diagnosis {
    /// On a terminal
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Args)]
pub struct List {
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Clone, Debug, Default, Args)]
pub struct Grade {
    /// Which scenarios: `4`, `04`, `slow-query` or `04-slow-query`; all without one
    pub scenarios: Vec<String>,
    /// Run this check only, and judge its budgets; may be given several times. Keeps no score
    #[arg(long = "check", value_name = "NAME")]
    pub checks: Vec<String>,
    /// Grade the reference solution in place of the exercise
    #[arg(long, conflicts_with = "submission")]
    pub reference: bool,
    /// Grade somebody else's work: a folder shaped like the exercise's
    #[arg(long, value_name = "DIR")]
    pub submission: Option<PathBuf>,
    /// How servers are had
    #[arg(long, value_enum, default_value_t, env = "WAR_STORIES_SERVICES")]
    pub services: ServiceMode,
    /// Replay the random choices of an earlier run
    #[arg(long)]
    pub seed: Option<u64>,
    /// After the verdict, where the tasks of a stuck check wait: needs a second build, once
    #[arg(long, value_enum, default_value_t)]
    pub diagnosis: Diagnosis,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Clone, Debug, Args)]
pub struct Incident {
    /// Which scenario; with --prove any number of them, all without one
    pub scenarios: Vec<String>,
    /// How long it lasts: `90s`, `10m` (without it ten minutes)
    #[arg(long = "for", value_name = "DURATION", value_parser = lasts)]
    pub lasts: Option<Duration>,
    /// The same traffic again
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Watch the reference solution in place of the exercise
    #[arg(long)]
    pub reference: bool,
    /// The port of the page, on 127.0.0.1; one that is free without it
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Give the service this much memory, as in `64m`: in a container, which is started again when it is killed
    #[arg(long, value_name = "LIMIT", value_parser = bytes)]
    pub memory: Option<u64>,
    /// Keep what was seen in this folder: charts as SVG, figures as JSON
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
    /// Look at nothing and serve nothing: to learn what looking costs, by the processor time that is told at the end
    #[arg(long, hide = true)]
    pub unwatched: bool,
    /// The author's proof: the exercise shows the symptoms that its manifest declares, and the reference does not
    #[arg(long, conflicts_with_all = ["reference", "port", "memory"])]
    pub prove: bool,
    /// How servers are had
    #[arg(long, value_enum, default_value_t, env = "WAR_STORIES_SERVICES")]
    pub services: ServiceMode,
}

/// `64m`, `1g`, `65536k`: what a container may have, at least as much as the runtime takes.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.chars().last() {
        Some('k') => (&text[..text.len() - 1], 1 << 10),
        Some('m') => (&text[..text.len() - 1], 1 << 20),
        Some('g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    match bytes {
        Some(bytes) if (16 << 20..=64 << 30).contains(&bytes) => Ok(bytes),
        _ => Err("a memory limit is a size from 16m to 64g, as in 64m".to_owned()),
    }
}

/// `90s`, `10m`, `90`.
fn lasts(text: &str) -> Result<Duration, String> {
    let (digits, factor) = match text.strip_suffix(['s', 'm']) {
        Some(digits) if text.ends_with('m') => (digits, 60),
        Some(digits) => (digits, 1),
        None => (text, 1),
    };
    match digits.parse::<u64>() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds * factor)),
        _ => Err("a duration is a number of seconds or minutes, as in 90s or 10m".to_owned()),
    }
}

#[derive(Clone, Debug, Args)]
pub struct Verify {
    /// Which scenarios; all without one
    pub scenarios: Vec<String>,
    /// Run the reference, the accepted variants and the `must` of the rejected ones this often, and report flips
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Only these variants (or `exercise`), beside the reference
    #[arg(long = "variant", value_name = "NAME")]
    pub variants: Vec<String>,
    /// Start anew, though the last such run was interrupted
    #[arg(long)]
    pub fresh: bool,
    /// Write what the broken code gives into scenario.toml
    #[arg(long)]
    pub record: bool,
    /// Verify in full what differs from its last recorded proof; of the rest, exercise and reference
    #[arg(long, conflicts_with = "variants")]
    pub changed: bool,
    /// Write into .ci/verified.toml which scenarios are as declared
    #[arg(long, conflicts_with_all = ["variants", "record"])]
    pub record_proof: bool,
    /// How servers are had
    #[arg(long, value_enum, default_value_t, env = "WAR_STORIES_SERVICES")]
    pub services: ServiceMode,
    #[arg(long)]
    pub seed: Option<u64>,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Clone, Debug, Args)]
pub struct Hint {
    pub scenario: String,
    /// The check that fails; without it, the first whose hints are not all seen
    pub check: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct Debrief {
    pub scenario: String,
    /// Before it is passed
    #[arg(long)]
    pub anyway: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Services {
    #[command(subcommand)]
    pub verb: ServicesVerb,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ServicesVerb {
    /// Start servers and leave them running
    Up {
        /// postgres, redis, pgbouncer, etcd, zookeeper, dynamodb; without one, all that the scenarios need
        services: Vec<String>,
        /// How servers are had
        #[arg(long = "services", value_enum, default_value_t, env = "WAR_STORIES_SERVICES")]
        mode: ServiceMode,
        /// Rows of seeded tables, as in 500k or 10m
        #[arg(long)]
        scale: Option<String>,
    },
    /// End them
    Down {
        services: Vec<String>,
        /// Remove fetched packages and seeded clusters as well
        #[arg(long)]
        purge: bool,
    },
    /// Which are running
    Status,
}

#[derive(Clone, Debug, Args)]
pub struct Doctor {
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case("90s", Some(90))]
    #[case("10m", Some(600))]
    #[case("7", Some(7))]
    #[case("0", None)]
    #[case("soon", None)]
    fn durations(#[case] text: &str, #[case] seconds: Option<u64>) {
        assert_eq!(super::lasts(text).ok().map(|lasts| lasts.as_secs()), seconds);
    }
}
