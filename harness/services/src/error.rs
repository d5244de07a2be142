//! Everything that can go wrong, each with the server, what was tried, and what to type next.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kind::Kind;

/// Why a server cannot be had. The messages are fragments that fit after "failed to have services: "; the last line
/// says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No way led to a server.
    #[error("no {} could be had\n{}  next: {next}", .kind.title(), Attempts(.tried))]
    Unavailable {
        /// The server.
        kind: Kind,
        /// Each way, and why it did not work.
        tried: Vec<Attempt>,
        /// What to type.
        next: String,
    },
    /// A server ended before it answered.
    #[error("{} ({program}) ended before it answered: {status}{}\n  next: {next}", .kind.title(), Log(.log))]
    Died {
        /// The server.
        kind: Kind,
        /// Its program or image.
        program: String,
        /// Exit code or signal.
        status: String,
        /// The last lines of its log.
        log: String,
        /// What to do.
        next: String,
    },
    /// A server runs but does not answer.
    #[error("{} ({program}) gave no answer within {} s: {last}{}\n  next: run the command again; if it stays, look for what blocks loopback connections", .kind.title(), .waited.as_secs(), Log(.log))]
    Silent {
        /// The server.
        kind: Kind,
        /// Its program or image.
        program: String,
        /// How long it was waited for.
        waited: Duration,
        /// What the last attempt to reach it said.
        last: String,
        /// The last lines of its log.
        log: String,
    },
    /// A server that answered does not any more.
    #[error("{} at {address} does not answer: {reason}\n  next: start it again (`cargo xtask services up` when it was started by that)", .kind.title())]
    Gone {
        /// The server.
        kind: Kind,
        /// Host and port.
        address: String,
        /// What the attempt said.
        reason: String,
    },
    /// The SQL of a seed, or what is done around it, was refused.
    #[error("PostgreSQL refused the seed of template `{template}`: {reason}\n  next: correct the seed's SQL")]
    Seed {
        /// The template database.
        template: String,
        /// The server's words.
        reason: String,
    },
    /// A folder cannot be made, read or written.
    #[error("cannot {action} {}: {source}\n  next: make it writable, or set WAR_STORIES_CACHE to a folder that is", .path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// A verb.
        action: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// The disk is full, or would be.
    #[error("no space for {what} in {}: {} MiB are free, about {} MiB are needed\n  next: free some, or set WAR_STORIES_CACHE to a folder on another disk", .folder.display(), .free >> 20, .needed.div_ceil(1 << 20))]
    NoSpace {
        /// What was to be written.
        what: String,
        /// Where.
        folder: PathBuf,
        /// Free bytes.
        free: u64,
        /// Needed bytes, about.
        needed: u64,
    },
    /// Root drops to another user, who cannot enter a folder.
    #[error("user `{user}`, whom the servers run as because you are root, cannot enter {} on the way to {}\n  next: set WAR_STORIES_CACHE to a folder that everybody can enter, such as /var/tmp/war-stories", .blocked.display(), .folder.display())]
    OutOfReach {
        /// The folder that is needed.
        folder: PathBuf,
        /// Where the way ends.
        blocked: PathBuf,
        /// The user.
        user: String,
    },
    /// Root finds nobody to drop to.
    #[error(
        "you are root, which PostgreSQL refuses, and there is neither a user `postgres` nor `nobody` to run it as\n  next: run as an ordinary user, or type: useradd --system postgres"
    )]
    NobodyToBe,
    /// PgBouncer was asked for without a PostgreSQL to front.
    #[error(
        "PgBouncer needs a PostgreSQL to front, and none was given\n  next: start PostgreSQL first and pass its endpoint in Options::upstream"
    )]
    NoUpstream,
    /// A server cannot be left running.
    #[error("{} was started to end with this process and cannot be left running\n  next: start it with Options::detached", .kind.title())]
    NotDetachable {
        /// The server.
        kind: Kind,
    },
    /// The state file of left-running servers is broken.
    #[error("{} is not a list of running services: {reason}\n  next: delete it; what it may have named is found by `cargo xtask services down`", .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// One way that was tried, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// "containers", "local binaries", "fetched binaries".
    pub way: &'static str,
    /// Why it did not lead to a server, in one line or a few.
    pub outcome: String,
}

impl Error {
    /// Wraps an I/O error on a folder or file.
    pub(crate) fn folder(path: &Path, action: &'static str, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::StorageFull {
            return Error::no_space("the data folder", path, 0);
        }
        Error::Folder {
            path: path.to_path_buf(),
            action,
            source,
        }
    }

    /// The disk that holds `folder` is full.
    pub(crate) fn no_space(what: &str, folder: &Path, needed: u64) -> Error {
        let free = crate::folder::free_bytes(folder).unwrap_or(0);
        Error::NoSpace {
            what: what.to_owned(),
            folder: folder.to_path_buf(),
            free,
            needed,
        }
    }

    /// Whether another way may do better: trouble with one program or image is, trouble with the seed or the disk is
    /// not.
    pub(crate) fn another_way_may_help(&self) -> bool {
        matches!(
            self,
            Error::Unavailable { .. } | Error::Died { .. } | Error::Silent { .. }
        )
    }
}

struct Attempts<'a>(&'a [Attempt]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Attempt { way, outcome } in self.0 {
            writeln!(f, "  {way}: {}", outcome.replace('\n', "\n    "))?;
        }
        Ok(())
    }
}

struct Log<'a>(&'a str);

impl fmt::Display for Log<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.lines().try_for_each(|line| write!(f, "\n    | {line}"))
    }
}
