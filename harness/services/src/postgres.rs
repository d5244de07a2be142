//! PostgreSQL: a run's server works on a copy of a cached cluster.
//!
//! [`seed`] makes template databases, [`cluster`] keeps what it made on this machine, [`volume`] keeps it for
//! containers.

use std::path::Path;
use std::process::Command;

use pgwire::Client;

use crate::endpoint::Endpoint;
use crate::find::Program;
use crate::options::Options;
use crate::record::Record;
use crate::running::{self, Running};
use crate::user::Runner;
use crate::{Error, background, folder, secret};

pub(crate) mod cluster;
pub(crate) mod seed;
pub(crate) mod volume;

pub use seed::PostgresSeed;

/// The superuser of all our clusters.
pub(crate) const SUPERUSER: &str = "postgres";

/// What every server of ours is told. Deterministic plans and block counts come first, speed second.
const SETTINGS: &[(&str, &str)] = &[
    ("shared_preload_libraries", "pg_stat_statements"),
    ("pg_stat_statements.track", "all"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("autovacuum", "off"),
    ("deadlock_timeout", "1s"),
    // One for each check that reads the write-ahead log.
    ("max_replication_slots", "50"),
    ("fsync", "off"),
    ("shared_buffers", "128MB"),
    // In the data folder, where it goes with the rest: a killed server leaves its POSIX segments behind for ever.
    ("dynamic_shared_memory_type", "mmap"),
    // A clear-text password is compared with an MD5 hash in microseconds, with a SCRAM one in milliseconds.
    ("password_encryption", "md5"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("lc_messages", "C"),
    ("logging_collector", "off"),
];

/// All settings in the form `name=value`, in the order in which they are to be given: later ones win.
pub(crate) fn settings(options: &Options) -> Vec<String> {
    let connections = ("max_connections".to_owned(), options.max_connections.to_string());
    let built_in = SETTINGS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let all = built_in
        .chain([connections])
        .chain(options.postgres_settings.iter().cloned());
    all.map(|(name, value)| format!("{name}={value}")).collect()
}

/// The command of a server on this machine.
pub(crate) fn command(program: &Program, data: &Path, port: u16, options: &Options) -> Command {
    let mut command = program.command("");
    command.arg("-D").arg(data).args(["-p", &port.to_string()]);
    for setting in settings(options) {
        command.args(["-c", &setting]);
    }
    command.args([
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "unix_socket_directories=",
    ]);
    command
}

pub(crate) fn endpoint(port: u16, password: &str) -> Endpoint {
    Endpoint::Postgres {
        host: "127.0.0.1".to_owned(),
        port,
        admin_user: SUPERUSER.to_owned(),
        admin_password: password.to_owned(),
        templates: Vec::new(),
        version_num: 0,
        inside: None,
    }
}

/// Starts a server on this machine on a copy of a cached cluster that holds the templates of `seeds`.
///
/// A cached cluster from which no server starts is thrown away and made anew, once.
pub(crate) async fn start(
    program: &Program,
    options: &Options,
    runner: &Runner,
    seeds: &[PostgresSeed],
) -> Result<(Running, Endpoint, String), Error> {
    let mut patience = 1;
    loop {
        let cached = cluster::ready(program, options, runner, seeds).await?;
        let record = Record::open(crate::Kind::Postgres, options, runner)?;
        let data = record.data.join("data");
        let copied = background::blocking(|| {
            running::expect_space(
                "a copy of the database cluster",
                &record.data,
                cached.bytes + (32 << 20),
            )?;
            folder::copy(&cached.data(), &data, runner)
                .map_err(|source| Error::folder(&data, "copy a cluster to", source))
        });
        if let Err(error) = copied {
            record.close();
            return Err(error);
        }
        // From here on the cached cluster may be replaced by others.
        let cached = cached.unlock();
        let command = |port| command(program, &data, port, options);
        let started = Running::start(record, options, runner, command, |port| {
            endpoint(port, &cached.password)
        })
        .await;
        let open = match started {
            Ok((running, endpoint, version)) => match open(endpoint, seeds).await {
                Ok(endpoint) => Ok((running, endpoint, version)),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match open {
            Err(error) if patience > 0 && !cached.fresh && suspicious(&error) => {
                patience -= 1;
                options.say("the cached database cluster is damaged; making it anew");
                cached.discard(options)?;
            }
            other => return other,
        }
    }
}

/// Whether a failed start may be the cached cluster's fault.
fn suspicious(error: &Error) -> bool {
    matches!(
        error,
        Error::Died { .. } | Error::Silent { .. } | Error::Gone { .. }
    )
}

/// Prepares a started server for its run: a password of its own, no statistics of the seeding, and a look at whether
/// the templates are really there.
pub(crate) async fn open(endpoint: Endpoint, seeds: &[PostgresSeed]) -> Result<Endpoint, Error> {
    let fresh = secret::password();
    let address = endpoint.address();
    let gone = |reason: String| Error::Gone {
        kind: crate::Kind::Postgres,
        address: address.clone(),
        reason,
    };
    let Some(config) = endpoint.admin("postgres") else {
        unreachable!("it is PostgreSQL")
    };
    let mut client = Client::connect(&config)
        .await
        .map_err(|error| gone(error.to_string()))?;
    let sql = format!(
        "ALTER ROLE {SUPERUSER} PASSWORD '{fresh}'; \
         SELECT pg_stat_statements_reset(); \
         SELECT current_setting('server_version_num') AS version, \
                array_to_string(array(SELECT datname FROM pg_database WHERE datistemplate), ' ') AS templates"
    );
    let rows = client
        .query(&sql)
        .await
        .map_err(|error| gone(error.to_string()))?;
    let answer = |column: &str| {
        rows.iter()
            .find_map(|row| row.get(column))
            .unwrap_or_default()
            .to_owned()
    };
    let (version, there) = (answer("version"), answer("templates"));
    let _ = client.close().await;
    if let Some(seed) = seeds
        .iter()
        .find(|seed| !there.split(' ').any(|name| name == seed.name))
    {
        return Err(gone(format!("template `{}` is not in it", seed.name)));
    }
    match endpoint {
        Endpoint::Postgres {
            host,
            port,
            admin_user,
            inside,
            ..
        } => Ok(Endpoint::Postgres {
            host,
            port,
            admin_user,
            admin_password: fresh,
            templates: seeds.iter().map(|seed| seed.name.clone()).collect(),
            version_num: version.parse().unwrap_or(0),
            inside,
        }),
        other => Ok(other),
    }
}
