//! The servers of one run, as checks are given them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use services::{Endpoint, How, Kind, Mode, Options, PostgresSeed, Server, State};
use verdict::report;
use verdict::wire::PostgresJob;

use crate::catalogue::Scenario;
use crate::errors::Error;
use crate::flags::ServiceMode;
use crate::lend;
use crate::workbook::Workbook;

/// Overrides the rows of every seed, as `services up --scale` does.
pub const ROWS_VARIABLE: &str = "WAR_STORIES_ROWS";

/// Servers that are up.
#[derive(Default)]
pub struct Fleet {
    pub told: Vec<report::Service>,
    /// Started for this run, and ended with it.
    servers: Vec<Server>,
    /// Found running, started by `services up`.
    found: Vec<services::Detached>,
    /// Servers of kinds that each check has for itself: one is started with the run, to know that it can be had and how,
    /// and goes to the first check that asks.
    spares: RefCell<Vec<Server>>,
    /// How servers of a kind are had in this run.
    ways: Vec<(Kind, How)>,
    /// How servers are had of which none was started with the run.
    mode: ServiceMode,
    /// Numbers the checks' databases.
    databases: AtomicU32,
}

impl Fleet {
    /// Has all that `scenarios` need ready: what `services up` left running, and the rest anew.
    pub async fn start(
        workbook: &Workbook,
        scenarios: &[Scenario],
        mode: ServiceMode,
        say: &dyn Fn(&str),
    ) -> Result<Fleet, Error> {
        let mut fleet = Fleet {
            mode,
            ..Fleet::default()
        };
        let kinds = kinds(scenarios);
        if kinds.is_empty() {
            return Ok(fleet);
        }
        let seeds = seeds(scenarios, rows_asked())?;
        let running = running(workbook, mode).await;
        for kind in kinds {
            match running
                .servers
                .iter()
                .find(|server| server.kind == kind && holds(&server.endpoint, &seeds))
            {
                Some(server) => fleet.take(server.clone()),
                None => {
                    let server = start_one(
                        kind,
                        mode,
                        &seeds,
                        fleet.endpoint(Kind::Postgres).cloned(),
                        false,
                        say,
                    )
                    .await?;
                    fleet.told.push(told(&server));
                    fleet.ways.push((kind, server.how.clone()));
                    match kind {
                        Kind::Redis | Kind::Etcd | Kind::ZooKeeper | Kind::DynamoDb => {
                            fleet.spares.borrow_mut().push(server)
                        }
                        Kind::Postgres | Kind::PgBouncer => fleet.servers.push(server),
                    }
                }
            }
        }
        Ok(fleet)
    }

    fn take(&mut self, server: services::Detached) {
        self.told.push(report::Service {
            name: server.kind.to_string(),
            how: "running".to_owned(),
            version: server.version.clone(),
            reason: format!(
                "{}: kept by cargo xtask services up ({})",
                server.version, server.how
            ),
            seconds: 0.0,
        });
        self.ways.push((server.kind, server.how.clone()));
        self.found.push(server);
    }

    /// A server that nobody has used yet.
    pub fn spare(&self, kind: Kind) -> Option<Server> {
        let mut spares = self.spares.borrow_mut();
        let place = spares.iter().position(|server| server.kind == kind)?;
        Some(spares.swap_remove(place))
    }

    /// Options to have another server of `kind` as the first one was had; the first one, as the run was told.
    pub fn like(&self, kind: Kind) -> Options {
        let way = self.ways.iter().find(|(known, _)| *known == kind);
        let as_told = || Options {
            mode: mode_of(self.mode),
            ..Options::default()
        };
        way.map_or_else(as_told, |(_, how)| lend::same_way(how))
    }

    fn endpoint(&self, kind: Kind) -> Option<&Endpoint> {
        let started = self.servers.iter().map(|server| &server.endpoint);
        started
            .chain(self.found.iter().map(|server| &server.endpoint))
            .find(|endpoint| endpoint.kind() == kind)
    }

    /// A database of its own for one check.
    pub fn postgres_job(&self, scenario: &Scenario) -> Option<PostgresJob> {
        if !scenario
            .manifest
            .services
            .iter()
            .any(|service| service == Kind::Postgres.word())
        {
            return None;
        }
        let Some(Endpoint::Postgres {
            host,
            port,
            admin_user,
            admin_password,
            ..
        }) = self.endpoint(Kind::Postgres)
        else {
            return None;
        };
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        Some(PostgresJob {
            host: host.clone(),
            port: *port,
            admin_user: admin_user.clone(),
            admin_password: admin_password.clone(),
            template: scenario.manifest.seed.as_ref().map(|_| template(scenario)),
            database: format!("check_{}_{number}", std::process::id()),
        })
    }

    /// Which server has died, as a sentence.
    pub async fn dead(&self) -> Option<String> {
        for server in &self.servers {
            if let Err(error) = server.check_alive().await {
                return Some(first_line(&error.to_string()));
            }
        }
        for server in &self.found {
            if !server.is_alive().await {
                return Some(format!("{} does not answer any more", server.kind.title()));
            }
        }
        None
    }

    /// Removes the database of a check that did not do so itself, where the server outlives the run.
    pub async fn drop_database(&self, database: &str) {
        let admin = self
            .endpoint(Kind::Postgres)
            .and_then(|endpoint| endpoint.admin("postgres"));
        let Some(mut client) = (match admin {
            Some(admin) => pgwire::Client::connect(&admin).await.ok(),
            None => None,
        }) else {
            return;
        };
        let like = format!(
            "SELECT datname FROM pg_database WHERE datname = '{database}' OR datname LIKE '{database}\\_%'"
        );
        for row in client.query(&like).await.unwrap_or_default() {
            if let Some(name) = row.text(0) {
                client
                    .execute(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"))
                    .await
                    .ok();
                client
                    .execute(&format!("DROP ROLE IF EXISTS \"{name}\""))
                    .await
                    .ok();
            }
        }
    }

    /// Ends what was started for this run.
    pub async fn stop(self) {
        for server in self.spares.into_inner() {
            server.stop().await;
        }
        for server in self.servers.into_iter().rev() {
            server.stop().await;
        }
    }
}

/// Of a PostgreSQL that many checks share: each may have a hundred and be none the worse for the others.
const CONNECTIONS_MAX: u32 = 2000;

/// Starts one server; `detached` ones outlive this process.
pub async fn start_one(
    kind: Kind,
    mode: ServiceMode,
    seeds: &[PostgresSeed],
    upstream: Option<Endpoint>,
    detached: bool,
    say: &dyn Fn(&str),
) -> Result<Server, Error> {
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel::<String>();
    let options = Options {
        mode: mode_of(mode),
        upstream,
        detached,
        max_connections: CONNECTIONS_MAX,
        say: Arc::new(move |line| drop(sender.send(line.to_owned()))),
        ..Options::default()
    };
    let seeds = if kind == Kind::Postgres { seeds } else { &[] };
    let starting = services::start(kind, &options, seeds);
    tokio::pin!(starting);
    loop {
        tokio::select! {
            server = &mut starting => return server.map_err(missing),
            Some(line) = lines.recv() => say(&line),
        }
    }
}

/// The servers that `services up` left, if they may be used in this mode.
pub async fn running(workbook: &Workbook, mode: ServiceMode) -> State {
    let mut state = State::load(&state_file(workbook)).unwrap_or_default();
    let mut alive = Vec::new();
    for server in std::mem::take(&mut state.servers) {
        let fits = match mode {
            ServiceMode::Auto => true,
            ServiceMode::Containers => matches!(server.how, How::Container { .. }),
            ServiceMode::Local => !matches!(server.how, How::Container { .. }),
        };
        if fits && server.is_alive().await {
            alive.push(server);
        }
    }
    state.servers = alive;
    state
}

pub fn state_file(workbook: &Workbook) -> PathBuf {
    workbook.workshop().join("services.json")
}

/// All servers of `scenarios`, each once, those first that others stand on.
pub fn kinds(scenarios: &[Scenario]) -> BTreeSet<Kind> {
    scenarios
        .iter()
        .flat_map(|scenario| &scenario.manifest.services)
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// What starting the servers of `scenarios` is called; `None` when they need none.
pub fn words(scenarios: &[Scenario]) -> Option<String> {
    let kinds: Vec<&str> = kinds(scenarios).into_iter().map(Kind::word).collect();
    (!kinds.is_empty()).then(|| format!("starting {}", kinds.join(", ")))
}

/// The template databases of `scenarios`.
pub fn seeds(scenarios: &[Scenario], rows: Option<u64>) -> Result<Vec<PostgresSeed>, Error> {
    let seeded = scenarios
        .iter()
        .filter_map(|scenario| Some((scenario, scenario.manifest.seed.as_ref()?)));
    seeded
        .map(|(scenario, seed)| {
            let file = scenario.exercise.join(&seed.postgres);
            let sql = std::fs::read_to_string(&file)
                .map_err(|error| Error::slip(&file, format!("failed to read it: {error}")))?;
            let sql = sql.replace(":rows", &rows.unwrap_or(seed.rows).to_string());
            Ok(PostgresSeed {
                name: template(scenario),
                sql,
            })
        })
        .collect()
}

/// The rows that the environment asks for.
pub fn rows_asked() -> Option<u64> {
    std::env::var(ROWS_VARIABLE)
        .ok()
        .and_then(|rows| rows.parse().ok())
}

fn template(scenario: &Scenario) -> String {
    format!("seed_{}", scenario.slug.replace('-', "_"))
}

fn holds(endpoint: &Endpoint, seeds: &[PostgresSeed]) -> bool {
    match endpoint {
        Endpoint::Postgres { templates, .. } => seeds.iter().all(|seed| templates.contains(&seed.name)),
        _ => true,
    }
}

fn mode_of(mode: ServiceMode) -> Mode {
    match mode {
        ServiceMode::Auto => Mode::Auto,
        ServiceMode::Containers => Mode::Containers,
        ServiceMode::Local => Mode::Local,
    }
}

fn told(server: &Server) -> report::Service {
    report::Service {
        name: server.kind.to_string(),
        how: match server.how {
            How::Container { .. } => "container",
            How::Local { .. } => "local",
            How::Fetched { .. } => "fetched",
        }
        .to_owned(),
        version: server.version.clone(),
        reason: server.reason.clone(),
        seconds: server.startup.as_secs_f64(),
    }
}

/// The library's errors end with a line of what to do.
fn missing(error: services::Error) -> Error {
    let text = error.to_string();
    let (what, next) = text
        .rsplit_once("\n  next: ")
        .unwrap_or((&text, "cargo xtask doctor"));
    Error::Environment {
        what: what.to_owned(),
        next: next.to_owned(),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
