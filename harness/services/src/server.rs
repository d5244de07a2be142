//! A server that is up, and how it came to be.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::container;
use crate::daemon::{Contained, Daemon};
use crate::endpoint::Endpoint;
use crate::error::Attempt;
use crate::find::{self, Program};
use crate::kind::Kind;
use crate::options::Options;
use crate::pgbouncer::Front;
use crate::record::Record;
use crate::running::Running;
use crate::state::Detached;
use crate::user::Runner;
use crate::{Error, PostgresSeed, background, dynamodb, etcd, fetch, postgres, recover, redis, zookeeper};

/// How a server was had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// In a container.
    Container {
        /// Name of the image.
        image: String,
        /// The container's number.
        id: String,
    },
    /// By an installed program.
    Local {
        /// The program.
        path: PathBuf,
    },
    /// By a program of the distribution's packages, unpacked into the cache.
    Fetched {
        /// The program.
        path: PathBuf,
    },
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Container { image, .. } => write!(f, "container of {image}"),
            How::Local { path } => write!(f, "{}", path.display()),
            How::Fetched { path } => write!(f, "{} (fetched)", path.display()),
        }
    }
}

/// A running server. Dropping it ends it and removes its data: at once for a process, within seconds for a container;
/// both are waited for.
#[derive(Debug)]
pub struct Server {
    /// Which one.
    pub kind: Kind,
    /// How it was had.
    pub how: How,
    /// The choice and the reason for it, in one line for people.
    pub reason: String,
    /// What it says its version is, as in `15.18`.
    pub version: String,
    /// Where it answers.
    pub endpoint: Endpoint,
    /// From the first look to the first answer, fetching and seeding included.
    pub startup: Duration,
    /// Whether it can be left running.
    detached: bool,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Process(Box<Running>),
    Container(Box<Contained>),
}

/// Has a server: by a container, an installed program, or a fetched one, as [`Options::mode`] allows. `seeds` are for
/// PostgreSQL alone. What a dead run of this user left behind is removed on the way.
///
/// # Errors
/// [`Error::Unavailable`] with each way and its outcome when none works; a seed that is refused and a disk that is full
/// are told at once, since no other way would do better.
pub async fn start(kind: Kind, options: &Options, seeds: &[PostgresSeed]) -> Result<Server, Error> {
    let (options, seeds) = (options.clone(), seeds.to_vec());
    background::run(async move { choose(kind, &options, &seeds).await }).await
}

async fn choose(kind: Kind, options: &Options, seeds: &[PostgresSeed]) -> Result<Server, Error> {
    let start = Instant::now();
    recover::once(options).await;
    let mut tried: Vec<Attempt> = Vec::new();
    if options.mode.containers() {
        match by_container(kind, options, seeds).await {
            Ok(server) => return Ok(server.told(start, options, &tried)),
            Err(error) => note(&mut tried, "containers", error, options)?,
        }
    }
    if options.mode.binaries() && kind.is_built() {
        let built = dynamodb::program(options).await;
        let how = |path| How::Local { path };
        match by_program(kind, options, seeds, built, how).await {
            Ok(server) => return Ok(server.told(start, options, &tried)),
            Err(error) => note(&mut tried, "compiled programs", error, options)?,
        }
    } else if options.mode.binaries() {
        let installed = background::blocking(|| find::installed(kind, &options.search));
        let how = |path| How::Local { path };
        match by_program(kind, options, seeds, installed, how).await {
            Ok(server) => return Ok(server.told(start, options, &tried)),
            Err(error) => note(&mut tried, "installed programs", error, options)?,
        }
        let fetched = background::blocking(|| fetch::fetched(kind, options))?;
        let how = |path| How::Fetched { path };
        match by_program(kind, options, seeds, fetched, how).await {
            Ok(server) => return Ok(server.told(start, options, &tried)),
            Err(error) => note(&mut tried, "fetched packages", error, options)?,
        }
    }
    Err(Error::Unavailable {
        kind,
        tried,
        next: advice(kind, options),
    })
}

/// Why a way did not lead to a server.
enum Miss {
    /// It is not to be had that way.
    Absent(String),
    /// It was had, and failed.
    Failed(Error),
}

impl From<Error> for Miss {
    fn from(error: Error) -> Miss {
        Miss::Failed(error)
    }
}

fn note(tried: &mut Vec<Attempt>, way: &'static str, miss: Miss, options: &Options) -> Result<(), Error> {
    // With a configuration of somebody else's, that is what it died of.
    let elsewhere = options.bouncer.is_none();
    let outcome = match miss {
        Miss::Absent(reason) => reason,
        Miss::Failed(error) if elsewhere && error.another_way_may_help() => error.to_string(),
        Miss::Failed(error) => return Err(error),
    };
    tried.push(Attempt { way, outcome });
    Ok(())
}

async fn by_container(kind: Kind, options: &Options, seeds: &[PostgresSeed]) -> Result<Server, Miss> {
    let plan = match kind {
        Kind::PgBouncer => {
            let front = Front::new(options)?;
            let plan = front.plan().map_err(Miss::Absent)?;
            Some((plan, Some(front)))
        }
        Kind::Redis => Some((redis::plan(), None)),
        Kind::Etcd => Some((etcd::plan(), None)),
        Kind::ZooKeeper => Some((zookeeper::plan(), None)),
        Kind::DynamoDb => Some((dynamodb::plan(), None)),
        Kind::Postgres => None,
    };
    let daemon = Daemon::connect(options).await.map_err(Miss::Absent)?;
    daemon.ensure(kind, options).await.map_err(Miss::Absent)?;
    let (contained, endpoint, version) = match plan {
        None => daemon.start_postgres(options, seeds).await?,
        Some((plan, front)) => {
            let contained = daemon.start(kind, options, &plan).await?;
            let endpoint = match (kind, front) {
                (_, Some(front)) => front.endpoint(contained.port()),
                (Kind::Etcd, None) => etcd::endpoint(contained.port()),
                (Kind::ZooKeeper, None) => zookeeper::endpoint(contained.port()),
                (Kind::DynamoDb, None) => dynamodb::endpoint(contained.port()),
                (_, None) => redis::endpoint(contained.port()),
            };
            let version = contained.until_ready(&endpoint).await?;
            (contained, endpoint, version)
        }
    };
    let how = How::Container {
        image: contained.image().to_owned(),
        id: contained.id().to_owned(),
    };
    Ok(Server::new(
        how,
        endpoint,
        version,
        Body::Container(Box::new(contained)),
    ))
}

async fn by_program(
    kind: Kind,
    options: &Options,
    seeds: &[PostgresSeed],
    program: Result<Program, String>,
    how: impl Fn(PathBuf) -> How,
) -> Result<Server, Miss> {
    let program = program.map_err(Miss::Absent)?;
    // What cargo has built may lie where nobody else can look, and does not mind root.
    let runner = match kind.is_built() {
        true => Runner::Same,
        false => Runner::choose()?,
    };
    runner.can_reach(&program.path)?;
    if let Some(interpreter) = &program.interpreter {
        runner.can_reach(interpreter)?;
    }
    let front = if kind == Kind::PgBouncer {
        Some(Front::new(options)?)
    } else {
        None
    };
    let (running, endpoint, version) = if kind == Kind::Postgres {
        postgres::start(&program, options, &runner, seeds).await?
    } else {
        let record = Record::open(kind, options, &runner)?;
        let data = record.data.clone();
        let command = |port| match (&front, kind) {
            (Some(front), _) => front.command(&program, &data, &runner, port),
            (None, Kind::Etcd) => etcd::command(&program, &data, port),
            (None, Kind::ZooKeeper) => zookeeper::command(&program, &data, &runner, port),
            (None, Kind::DynamoDb) => dynamodb::command(&program, port),
            (None, _) => redis::command(&program, port),
        };
        let endpoint = |port| match (&front, kind) {
            (Some(front), _) => front.endpoint(port),
            (None, Kind::Etcd) => etcd::endpoint(port),
            (None, Kind::ZooKeeper) => zookeeper::endpoint(port),
            (None, Kind::DynamoDb) => dynamodb::endpoint(port),
            (None, _) => redis::endpoint(port),
        };
        Running::start(record, options, &runner, command, endpoint).await?
    };
    Ok(Server::new(
        how(program.path),
        endpoint,
        version,
        Body::Process(Box::new(running)),
    ))
}

fn advice(kind: Kind, options: &Options) -> String {
    let install = format!("`{}`", kind.install_command());
    let pull = format!("`docker pull {}`", container::image(kind));
    match (options.mode.containers(), options.mode.binaries()) {
        (true, true) => format!("type {install}, or start a container daemon and type {pull}"),
        (true, false) => format!("start a container daemon and type {pull}, or allow local servers"),
        _ => format!("type {install}, or allow containers"),
    }
}

/// A server on a starved machine may take this long to answer, and is not dead.
const SLOW: Duration = Duration::from_secs(20);

impl Server {
    fn new(how: How, endpoint: Endpoint, version: String, body: Body) -> Server {
        let version = version.split(' ').next().unwrap_or_default().to_owned();
        let (kind, reason, startup) = (endpoint.kind(), String::new(), Duration::ZERO);
        Server {
            kind,
            how,
            reason,
            version,
            endpoint,
            startup,
            detached: false,
            body,
        }
    }

    /// Fills in what is known only at the end: the time it took, and why not another way.
    fn told(mut self, start: Instant, options: &Options, tried: &[Attempt]) -> Server {
        self.startup = start.elapsed();
        self.detached = options.detached;
        let first = |attempt: &Attempt| {
            let line = attempt.outcome.lines().next().unwrap_or_default().to_owned();
            format!("no {}: {line}", attempt.way)
        };
        let why = tried.iter().map(first).collect::<Vec<_>>().join("; ");
        let why = if why.is_empty() {
            String::new()
        } else {
            format!(" ({why})")
        };
        self.reason = format!("{} {} by {}{why}", self.kind.title(), self.version, self.how);
        self
    }

    /// Whether it still answers, over its own protocol.
    ///
    /// # Errors
    /// [`Error::Gone`] with what came instead of an answer.
    pub async fn check_alive(&self) -> Result<(), Error> {
        let endpoint = self.endpoint.clone();
        let answer = background::run(async move { endpoint.probe_within(SLOW).await }).await;
        answer.map(drop).map_err(|reason| Error::Gone {
            kind: self.kind,
            address: self.endpoint.address(),
            reason,
        })
    }

    /// Process number of the server, when it is a process of this machine.
    pub fn pid(&self) -> Option<u32> {
        match &self.body {
            Body::Process(running) => Some(running.pid()),
            Body::Container(_) => None,
        }
    }

    /// Ends it and removes its data, as dropping does, without blocking the caller's runtime.
    pub async fn stop(self) {
        background::run(async move { background::blocking(|| drop(self)) }).await;
    }

    /// Leaves it running when this process ends; what is needed to end it later is in the result. To be started with
    /// [`Options::detached`].
    ///
    /// # Errors
    /// [`Error::NotDetachable`] when it was not; [`Error::Folder`] when its record cannot be written.
    pub fn detach(self) -> Result<Detached, Error> {
        if !self.detached {
            return Err(Error::NotDetachable { kind: self.kind });
        }
        let Server {
            kind,
            how,
            version,
            endpoint,
            body,
            ..
        } = self;
        let record = match body {
            Body::Process(running) => running.leave()?,
            Body::Container(contained) => contained.leave()?,
        };
        Ok(Detached {
            kind,
            how,
            version,
            endpoint,
            record,
        })
    }
}
