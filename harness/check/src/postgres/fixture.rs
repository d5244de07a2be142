//! A check's own database.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pgwire::{Client, Config};
use tokio::runtime::Handle;
use verdict::wire::PostgresJob;

use super::PgTap;
use crate::{Failure, Outcome, eventually};

/// How long the server may take to see that its clients are gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A database made for one check, the role that owns it and nothing else, and the tap in front of both.
///
/// Connections of the subject's that go past every tap are found out when the check ends: the server's own count of
/// sessions in this database must not exceed the taps' and the grader's.
#[derive(Debug)]
pub struct Postgres {
    /// The superuser, in the server's maintenance database.
    admin: Config,
    /// The subject's role, in the check's database, past the tap.
    subject: Config,
    runtime: Handle,
    tap: Arc<PgTap>,
    taps: Mutex<Vec<Arc<PgTap>>>,
    sessions_of_grader: AtomicU64,
}

impl Postgres {
    /// Makes the role and the database: a copy of the job's template, or empty.
    pub(crate) async fn make(
        job: &PostgresJob,
        runtime: &Handle,
        password: String,
    ) -> Result<Postgres, Failure> {
        let admin = Config {
            host: job.host.clone(),
            port: job.port,
            user: job.admin_user.clone(),
            password: job.admin_password.clone(),
            database: "postgres".to_owned(),
        };
        let name = &job.database;
        let template = job.template.as_deref().unwrap_or("template1");
        let mut client = connect(&admin).await?;
        let statements = [
            format!("CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}'"),
            format!("CREATE DATABASE \"{name}\" OWNER \"{name}\" TEMPLATE \"{template}\""),
            format!("REVOKE ALL ON DATABASE \"{name}\" FROM PUBLIC"),
        ];
        for statement in statements {
            client.execute(&statement).await.map_err(broken_server)?;
        }
        let subject = Config {
            user: name.clone(),
            password,
            database: name.clone(),
            ..admin.clone()
        };
        let tap =
            Arc::new(PgTap::start(runtime, &subject).map_err(|error| {
                Failure::environment(format!("failed to open a port for the tap: {error}"))
            })?);
        let postgres = Postgres {
            admin,
            subject,
            runtime: runtime.clone(),
            taps: Mutex::new(vec![tap.clone()]),
            tap,
            sessions_of_grader: AtomicU64::new(0),
        };
        postgres.hand_over().await?;
        Ok(postgres)
    }

    /// What the template's owner left becomes the role's.
    async fn hand_over(&self) -> Result<(), Failure> {
        let mut client = self.admin().await?;
        let role = self.role();
        client
            .execute(&format!("ALTER SCHEMA public OWNER TO \"{role}\""))
            .await
            .map_err(broken_server)?;
        let seeded = client
            .query("SELECT 1 FROM pg_roles WHERE rolname = 'war_stories_seed'")
            .await
            .map_err(broken_server)?;
        if !seeded.is_empty() {
            client
                .execute(&format!("REASSIGN OWNED BY war_stories_seed TO \"{role}\""))
                .await
                .map_err(broken_server)?;
        }
        Ok(())
    }

    /// What the subject connects to: the first tap.
    pub fn url(&self) -> String {
        self.tap.url()
    }

    /// The first tap.
    pub fn tap(&self) -> &Arc<PgTap> {
        &self.tap
    }

    /// One more front of the same database, for another instance of the subject.
    ///
    /// # Errors
    /// `environment`, when no port can be had.
    pub async fn another_tap(&self) -> Result<Arc<PgTap>, Failure> {
        let tap = PgTap::start(&self.runtime, &self.subject)
            .map_err(|error| Failure::environment(format!("failed to open a port for the tap: {error}")))?;
        let tap = Arc::new(tap);
        self.taps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(tap.clone());
        Ok(tap)
    }

    /// A superuser's connection to the check's database, past the taps.
    ///
    /// # Errors
    /// `environment`, when the server cannot be reached.
    pub async fn admin(&self) -> Result<Client, Failure> {
        self.sessions_of_grader.fetch_add(1, Ordering::Relaxed);
        connect(&Config {
            database: self.database().to_owned(),
            ..self.admin.clone()
        })
        .await
    }

    /// A connection as the subject's role, past the taps and counted as the grader's.
    ///
    /// # Errors
    /// `environment`, when the server cannot be reached.
    pub async fn as_subject(&self) -> Result<Client, Failure> {
        self.sessions_of_grader.fetch_add(1, Ordering::Relaxed);
        connect(&self.subject).await
    }

    /// The subject's role.
    pub fn role(&self) -> &str {
        &self.subject.user
    }

    pub fn database(&self) -> &str {
        &self.subject.database
    }

    /// Judges, once the subject is gone, whether it connected past the taps, and removes database and role.
    pub(crate) async fn finish(&self) -> Outcome {
        let mut client = connect(&self.admin).await?;
        let name = self.database();
        client
            .execute(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            ))
            .await
            .map_err(broken_server)?;
        // A session is counted for good when its backend ends.
        let here = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
        let client = tokio::sync::Mutex::new(client);
        eventually(GONE_WITHIN, "the end of the database's sessions", async || {
            let rows = client.lock().await.query(&here).await.ok()?;
            (rows.first()?.text(0) == Some("0")).then_some(())
        })
        .await
        .map_err(|failure| Failure::environment(failure.observed))?;
        let mut client = client.into_inner();
        let rows = client
            .query(&format!(
                "SELECT sessions FROM pg_stat_database WHERE datname = '{name}'"
            ))
            .await
            .map_err(broken_server)?;
        let server: u64 = rows
            .first()
            .and_then(|row| row.text(0)?.parse().ok())
            .unwrap_or_default();
        for statement in [
            format!("DROP DATABASE \"{name}\" WITH (FORCE)"),
            format!("DROP ROLE \"{name}\""),
        ] {
            client.execute(&statement).await.map_err(broken_server)?;
        }
        let taps = self.taps.lock().unwrap_or_else(PoisonError::into_inner);
        let tapped: u64 = taps.iter().map(|tap| tap.counts().connections_total).sum();
        let grader = self.sessions_of_grader.load(Ordering::Relaxed);
        if server > tapped + grader {
            return Err(Failure::new(format!(
                "connected past the tap: the server counts {server} sessions, the tap {tapped}, the grader {grader}"
            ))
            .because("A service connects to the address that it is given, and to no other."));
        }
        Ok(())
    }
}

async fn connect(config: &Config) -> Result<Client, Failure> {
    Client::connect(config).await.map_err(broken_server)
}

fn broken_server(error: pgwire::Error) -> Failure {
    Failure::environment(format!("PostgreSQL: {error}"))
}
