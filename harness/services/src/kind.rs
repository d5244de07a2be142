//! The servers that can be had, and the ways to have them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A server that a scenario may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// PostgreSQL, with `pg_stat_statements` and `pg_walinspect` in every database.
    Postgres,
    /// Redis, without persistence.
    Redis,
    /// PgBouncer in transaction mode, in front of a PostgreSQL that is named in
    /// [`Options::upstream`](crate::Options::upstream).
    PgBouncer,
    /// etcd, one node.
    Etcd,
    /// ZooKeeper, one node.
    ZooKeeper,
    /// DynamoDB's API, without persistence and without capacity limits.
    DynamoDb,
}

impl Kind {
    /// All of them, in the order in which they are listed to people.
    pub const ALL: [Kind; 6] = [
        Kind::Postgres,
        Kind::Redis,
        Kind::PgBouncer,
        Kind::Etcd,
        Kind::ZooKeeper,
        Kind::DynamoDb,
    ];

    /// The word of manifests, flags and environment variables.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Postgres => "postgres",
            Kind::Redis => "redis",
            Kind::PgBouncer => "pgbouncer",
            Kind::Etcd => "etcd",
            Kind::ZooKeeper => "zookeeper",
            Kind::DynamoDb => "dynamodb",
        }
    }

    /// The name that its makers write.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Postgres => "PostgreSQL",
            Kind::Redis => "Redis",
            Kind::PgBouncer => "PgBouncer",
            Kind::Etcd => "etcd",
            Kind::ZooKeeper => "ZooKeeper",
            Kind::DynamoDb => "DynamoDB",
        }
    }

    /// The program that is the server.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Kind::Postgres => "postgres",
            Kind::Redis => "redis-server",
            Kind::PgBouncer => "pgbouncer",
            Kind::Etcd => "etcd",
            Kind::ZooKeeper => crate::zookeeper::ARCHIVE,
            Kind::DynamoDb => crate::dynamodb::PACKAGE,
        }
    }

    /// Whether it is a program of the workbook's own, which cargo builds; then no distribution has it.
    pub(crate) fn is_built(self) -> bool {
        self == Kind::DynamoDb
    }

    /// Debian's and Ubuntu's packages that hold it, the most wanted first.
    pub(crate) fn debian_packages(self) -> &'static [&'static str] {
        match self {
            // 15 is what the budgets were calibrated on; the second name follows the distribution.
            Kind::Postgres => &["postgresql-15", "postgresql"],
            Kind::Redis => &["redis-server"],
            Kind::PgBouncer => &["pgbouncer"],
            Kind::Etcd => &["etcd-server", "etcd"],
            Kind::ZooKeeper => &["libzookeeper-java"],
            Kind::DynamoDb => &[],
        }
    }

    /// The Homebrew formula.
    pub(crate) fn homebrew_formula(self) -> &'static str {
        match self {
            Kind::Postgres => "postgresql@15",
            Kind::Redis => "redis",
            Kind::PgBouncer => "pgbouncer",
            Kind::Etcd => "etcd",
            Kind::ZooKeeper => "zookeeper",
            Kind::DynamoDb => "",
        }
    }

    /// What to type on this machine to install it.
    pub(crate) fn install_command(self) -> String {
        if self.is_built() {
            format!("cargo build --package {}", self.program())
        } else if cfg!(target_os = "macos") {
            format!("brew install {}", self.homebrew_formula())
        } else {
            let package = match self {
                Kind::Postgres => "postgresql",
                Kind::ZooKeeper => "zookeeper",
                _ => self.debian_packages()[0],
            };
            format!("sudo apt-get install {package}")
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A word that names no server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown service `{0}`; expected one of postgres, redis, pgbouncer, etcd, zookeeper, dynamodb")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Kind, UnknownKind> {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.word() == word)
            .ok_or_else(|| UnknownKind(word.to_owned()))
    }
}

/// Which ways are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Containers, then local binaries, then fetched ones.
    #[default]
    Auto,
    /// Containers only.
    Containers,
    /// Local binaries, then fetched ones.
    Local,
}

impl Mode {
    pub(crate) fn containers(self) -> bool {
        self != Mode::Local
    }

    pub(crate) fn binaries(self) -> bool {
        self != Mode::Containers
    }
}

/// A word that names no mode.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown way to have services `{0}`; expected auto, containers or local")]
pub struct UnknownMode(pub String);

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(word: &str) -> Result<Mode, UnknownMode> {
        match word {
            "auto" => Ok(Mode::Auto),
            "containers" => Ok(Mode::Containers),
            "local" => Ok(Mode::Local),
            _ => Err(UnknownMode(word.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("postgres", Kind::Postgres)]
    #[case("redis", Kind::Redis)]
    #[case("pgbouncer", Kind::PgBouncer)]
    #[case("etcd", Kind::Etcd)]
    #[case("zookeeper", Kind::ZooKeeper)]
    #[case("dynamodb", Kind::DynamoDb)]
    fn words_of_the_manifest_name_kinds_and_back(#[case] word: &str, #[case] kind: Kind) {
        assert_eq!(word.parse(), Ok(kind));
        assert_eq!(kind.to_string(), word);
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{word}\""));
    }

    #[rstest]
    #[case("postgresql")]
    #[case("Redis")]
    #[case("")]
    fn an_unknown_word_is_told_with_the_known_ones(#[case] word: &str) {
        let error = word.parse::<Kind>().unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("pgbouncer"), "{error}");
        assert!(word.parse::<Mode>().is_err());
    }
}
