//! A server, or a database of one's own, for a smoke test.
//!
//! ```no_run
//! let db = services::testing::postgres();
//! println!("{}", db.url());
//! ```
//!
//! Works under plain `cargo test`, in asynchronous tests too. Each server is started once per process and ends with it.
//! `WAR_STORIES_SERVICES` (`auto`, `containers`, `local`) chooses the way.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use pgwire::Client;

use crate::{Endpoint, Kind, Mode, Options, Server, background, process, secret, start};

/// A database of its own, owned by a role of its own; both are gone when this is dropped.
#[derive(Debug)]
pub struct Database {
    endpoint: Endpoint,
    name: String,
    password: String,
}

/// An empty database.
///
/// # Panics
/// With the words of [`Error`](crate::Error) when no PostgreSQL can be had.
pub fn postgres() -> Database {
    background::wait(database(None))
}

/// A database in which `sql` has been run as its owner.
///
/// # Panics
/// As [`postgres`], and when the SQL is refused.
pub fn postgres_with(sql: &str) -> Database {
    let sql = sql.to_owned();
    background::wait(database(Some(sql)))
}

/// The administrator of the process's server, for tests that make their own databases and roles.
///
/// # Panics
/// As [`postgres`].
pub fn postgres_admin() -> pgwire::Config {
    let config = background::wait(async { shared(Kind::Postgres).await.admin("postgres") });
    match config {
        Some(config) => config,
        None => panic!("the server is no PostgreSQL"),
    }
}

/// The address of a DynamoDB server, as in `http://127.0.0.1:8000`: one for the process, so tests use tables of their own.
///
/// # Panics
/// With the words of [`Error`](crate::Error) when none can be had.
pub fn dynamodb() -> String {
    format!("http://{}", background::wait(shared(Kind::DynamoDb)).address())
}

impl Database {
    /// For drivers: `postgres://role:password@host:port/database?sslmode=disable`.
    pub fn url(&self) -> String {
        let Database {
            endpoint,
            name,
            password,
        } = self;
        format!(
            "postgres://{name}:{password}@{}/{name}?sslmode=disable",
            endpoint.address()
        )
    }

    /// Name of the database and of the role that owns it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (name, endpoint) = (self.name.clone(), self.endpoint.clone());
        background::wait(async move {
            // A server that is gone has taken the database with it.
            if let Ok(mut admin) = admin(&endpoint, "postgres").await {
                let _ = admin
                    .query(&format!("DROP DATABASE \"{name}\" WITH (FORCE)"))
                    .await;
                let _ = admin.query(&format!("DROP ROLE \"{name}\"")).await;
            }
        });
    }
}

async fn database(sql: Option<String>) -> Database {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let endpoint = shared(Kind::Postgres).await;
    let name = format!("smoke_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let password = secret::password();
    let database = Database {
        endpoint,
        name,
        password,
    };
    let Database {
        endpoint,
        name,
        password,
    } = &database;
    let setup = async {
        let mut client = admin(endpoint, "postgres").await?;
        for sql in [
            format!("CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}'"),
            format!("CREATE DATABASE \"{name}\" OWNER \"{name}\""),
        ] {
            client.query(&sql).await.map_err(|error| error.to_string())?;
        }
        if let Some(sql) = sql {
            let config = endpoint.admin(name).ok_or("it is no PostgreSQL")?;
            let config = pgwire::Config {
                user: name.clone(),
                password: password.clone(),
                ..config
            };
            let mut owner = Client::connect(&config)
                .await
                .map_err(|error| error.to_string())?;
            owner
                .query(&sql)
                .await
                .map_err(|error| format!("the seed: {error}"))?;
        }
        Ok::<(), String>(())
    };
    if let Err(reason) = setup.await {
        panic!("failed to make a test database: {reason}");
    }
    database
}

async fn admin(endpoint: &Endpoint, database: &str) -> Result<Client, String> {
    let config = endpoint.admin(database).ok_or("it is no PostgreSQL")?;
    Client::connect(&config).await.map_err(|error| error.to_string())
}

/// The process's servers.
static SHARED: Mutex<Vec<Server>> = Mutex::new(Vec::new());

async fn shared(kind: Kind) -> Endpoint {
    // Held while the server starts: tests that come meanwhile wait for it instead of starting their own.
    static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _starting = STARTING.lock().await;
    let there = || {
        let shared = SHARED.lock().ok()?;
        let server = shared.iter().find(|server| server.kind == kind)?;
        Some(server.endpoint.clone())
    };
    if let Some(endpoint) = there() {
        return endpoint;
    }
    let mode = match std::env::var("WAR_STORIES_SERVICES")
        .as_deref()
        .map(str::parse::<Mode>)
    {
        Ok(Ok(mode)) => mode,
        Ok(Err(error)) => panic!("WAR_STORIES_SERVICES: {error}"),
        Err(_) => Mode::Auto,
    };
    let options = Options {
        mode,
        ..Options::default()
    };
    let server = match start(kind, &options, &[]).await {
        Ok(server) => server,
        Err(error) => panic!("failed to have services: {error}"),
    };
    let endpoint = server.endpoint.clone();
    if let Ok(mut shared) = SHARED.lock() {
        shared.push(server);
    }
    process::at_exit(end);
    // Ctrl-C ends a test program without its exit handlers.
    tokio::spawn(async {
        if let Ok(signal) = process::interrupted().await {
            background::blocking(end);
            std::process::exit(128 + signal as i32);
        }
    });
    endpoint
}

fn end() {
    // A test that panicked inside the lock must not keep the server alive.
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    shared.clear();
}
