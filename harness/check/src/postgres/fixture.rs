//! A check's own database: its role, its taps, and the grader's way past them.

use super::plan::{self, Prepared};
use super::sessions::{self, Graders, Known};
use super::stats::StatementStats;
use super::wal::IndexWrites;
use super::{PgTap, sizes};
use crate::{Failure, Outcome};
use pgwire::{Client, Config};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use verdict::wire::PostgresJob;

/// Connections that are told of when a check is stuck.
const STANDING_TOLD: usize = 6;

/// A database made for one check, owned by a role that owns nothing else, with a tap in front of it.
#[derive(Debug)]
pub struct Postgres {
    /// The superuser, in the maintenance database.
    admin: Config,
    /// The subject's role, straight at the server.
    subject: Config,
    harness: Handle,
    tap: Arc<PgTap>,
    more_taps: Mutex<Vec<Arc<PgTap>>>,
    /// The grader's own sessions in this database.
    graders: Mutex<Graders>,
}

/// Of one check's database: what PostgreSQL leaves to an ordinary role where nobody configures it. The server has room for
/// many checks, so that one which opens all that it gets takes nothing from another.
const CONNECTIONS_MAX: u32 = 97;

impl Postgres {
    /// Makes the database and the role that `job` names, and starts a tap on `harness`.
    ///
    /// # Errors
    /// Environment: the server is not what the job says.
    pub async fn make(job: &PostgresJob, harness: &Handle, password: String) -> Result<Postgres, Failure> {
        let admin = Config {
            host: job.host.clone(),
            port: job.port,
            user: job.admin_user.clone(),
            password: job.admin_password.clone(),
            database: "postgres".to_owned(),
        };
        let subject = Config {
            user: job.database.clone(),
            password,
            database: job.database.clone(),
            ..admin.clone()
        };
        let mut client = Client::connect(&admin)
            .await
            .map_err(broken("connect to PostgreSQL"))?;
        let name = quoted(&subject.database);
        let template = match &job.template {
            Some(seed) => format!("{}{}", quoted(seed), copied_as_files(&mut client).await?),
            None => "template1".to_owned(),
        };
        for sql in [
            format!("CREATE ROLE {name} LOGIN PASSWORD '{}'", subject.password),
            format!(
                "CREATE DATABASE {name} OWNER {name} TEMPLATE {template} CONNECTION LIMIT {CONNECTIONS_MAX}"
            ),
            // What others made is not the subject's to visit, nor the other way round.
            format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC"),
        ] {
            client
                .execute(&sql)
                .await
                .map_err(broken("make the check's database"))?;
        }
        let tap = PgTap::start(harness, &subject).map_err(broken("start a tap"))?;
        let pg = Postgres {
            admin,
            subject,
            harness: harness.clone(),
            tap: Arc::new(tap),
            more_taps: Mutex::default(),
            graders: Mutex::default(),
        };
        if job.template.is_some() {
            let mut inside = pg.admin().await?;
            inside
                .execute(&own_everything(&pg.subject.user))
                .await
                .map_err(broken("give the seed away"))?;
        }
        Ok(pg)
    }

    /// What the subject is given: the tap's address.
    pub fn url(&self) -> String {
        self.tap.url()
    }

    pub fn tap(&self) -> &Arc<PgTap> {
        &self.tap
    }

    /// Another front of the same database, as another replica of a service or another case of a sweep needs it.
    pub async fn another_tap(&self) -> Result<Arc<PgTap>, Failure> {
        let tap = PgTap::start(&self.harness, &self.subject)
            .map(Arc::new)
            .map_err(broken("start a tap"))?;
        self.more_taps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(tap.clone());
        Ok(tap)
    }

    /// A session of the superuser in this database, past the taps.
    pub async fn admin(&self) -> Result<Client, Failure> {
        self.past_the_taps(&Config {
            database: self.subject.database.clone(),
            ..self.admin.clone()
        })
        .await
    }

    /// A session of the subject's role in this database, past the taps.
    pub async fn as_subject(&self) -> Result<Client, Failure> {
        self.past_the_taps(&self.subject).await
    }

    pub fn role(&self) -> &str {
        &self.subject.user
    }

    pub fn database(&self) -> &str {
        &self.subject.database
    }

    /// Blocks, calls and rows per statement of the subject's role in this database.
    pub async fn statement_stats(&self) -> Result<StatementStats, Failure> {
        StatementStats::connect(&self.admin, self.role(), self.database()).await
    }

    /// Counts insertions into indexes from here on.
    pub async fn index_writes(&self) -> Result<IndexWrites, Failure> {
        IndexWrites::start(&self.admin, self.admin().await?).await
    }

    /// The sizes of the tables and indexes.
    pub async fn sizes(&self) -> Result<Vec<sizes::Relation>, Failure> {
        sizes::read(&mut self.admin().await?).await
    }

    /// A text that drivers have prepared, by whether it is the one that is looked for: the types that were declared for its
    /// parameters, and the values that were bound last.
    #[cfg(feature = "binds")]
    pub fn prepared(&self, is_it: impl Fn(&str) -> bool) -> Option<(Arc<str>, Vec<u32>, Vec<super::Bound>)> {
        self.taps().iter().find_map(|tap| {
            let (sql, values) = tap.bound().into_iter().find(|(sql, _)| is_it(sql))?;
            let types = tap.declared_types(&sql).unwrap_or_default();
            Some((sql, types, values))
        })
    }

    /// The plan of a statement as the subject's driver prepares it; see [`plan::as_prepared`]. The parameters' types
    /// are those that the driver declared when it prepared the same text through one of the taps, and otherwise what
    /// the server infers.
    pub async fn plan_as_prepared(
        &self,
        sql: &str,
        parameters: &[Option<&str>],
        executions: u32,
    ) -> Result<String, Failure> {
        let types = self
            .taps()
            .iter()
            .find_map(|tap| tap.declared_types(sql))
            .unwrap_or_default();
        let mut client = self.as_subject().await?;
        plan::as_prepared(
            &mut client,
            &Prepared {
                sql,
                types: &types,
                parameters,
            },
            executions,
        )
        .await
    }

    /// To be called when the subject is gone: judges whether anybody was connected past the taps, then removes the
    /// database and its role, whoever is still connected.
    ///
    /// # Errors
    /// Fail: more sessions than the taps and the grader have made.
    pub async fn finish(&self) -> Outcome {
        let mut admin = Client::connect(&self.admin)
            .await
            .map_err(broken("connect to PostgreSQL"))?;
        let graders = self
            .graders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let known = Known::of(&self.taps(), graders);
        let judged = sessions::none_past_the_taps(&mut admin, self.database(), &known).await;
        for sql in [
            format!("DROP DATABASE {} WITH (FORCE)", quoted(self.database())),
            format!("DROP ROLE {}", quoted(self.role())),
        ] {
            admin
                .execute(&sql)
                .await
                .map_err(broken("drop the check's database"))?;
        }
        judged
    }

    /// What is under way on the connections through the taps, in a line each; what is idle is left out.
    pub(crate) fn standing(&self) -> Vec<String> {
        let taps = self.taps();
        let mut told: Vec<String> = taps.iter().flat_map(|tap| tap.standing()).collect();
        let more = told.len().saturating_sub(STANDING_TOLD);
        told.truncate(STANDING_TOLD);
        if more > 0 {
            told.push(format!("tap: and {more} connections more"));
        }
        told
    }

    /// Who waits for a lock in the server, and who holds it.
    pub(crate) async fn standing_at_the_server(&self) -> Vec<String> {
        let Ok(mut admin) = Client::connect(&self.admin).await else {
            return Vec::new();
        };
        let waiting = format!(
            "SELECT a.pid, left(a.query, 80) AS query, b.pid AS holder, b.state, left(b.query, 80) AS last
               FROM pg_stat_activity a, unnest(pg_blocking_pids(a.pid)) AS holder, pg_stat_activity b
              WHERE a.datname = {} AND b.pid = holder ORDER BY a.pid LIMIT {STANDING_TOLD}",
            literal(self.database())
        );
        let rows = admin.query(&waiting).await.unwrap_or_default();
        let told = rows.iter().map(|row| {
            let text = |column| row.get(column).unwrap_or("");
            format!(
                "server: process {} waits with `{}` for a lock of process {}, which is {} after `{}`",
                text("pid"),
                text("query"),
                text("holder"),
                text("state"),
                text("last")
            )
        });
        told.collect()
    }

    fn taps(&self) -> Vec<Arc<PgTap>> {
        let more = self.more_taps.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(&self.tap).chain(more.iter()).cloned().collect()
    }

    async fn past_the_taps(&self, config: &Config) -> Result<Client, Failure> {
        let client = Client::connect(config)
            .await
            .map_err(broken("connect to PostgreSQL"))?;
        self.graders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(client.pid());
        Ok(client)
    }
}

/// How a large template is copied: through the shared buffers and the write-ahead log, as the server would by default, takes
/// three times as long and leaves all of it in the log, which a check may want to read.
async fn copied_as_files(client: &mut Client) -> Result<&'static str, Failure> {
    const CHOOSES_SINCE: u32 = 150_000;
    let rows = client
        .query("SHOW server_version_num")
        .await
        .map_err(broken("ask for the server's version"))?;
    let version: u32 = rows
        .first()
        .and_then(|row| row.text(0)?.parse().ok())
        .unwrap_or(0);
    // Before, there was no other way.
    Ok(if version < CHOOSES_SINCE {
        ""
    } else {
        " STRATEGY FILE_COPY"
    })
}

/// An error of the grader's own doing: the machine's fault, never the submission's.
pub(super) fn broken<E: Display>(what: &'static str) -> impl Fn(E) -> Failure {
    move |error| Failure::environment(format!("failed to {what}: {error}"))
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn literal(text: &str) -> String {
    // Backslashes mean themselves while standard_conforming_strings is on, which it is.
    format!("'{}'", text.replace('\'', "''"))
}

/// Gives everything that came with the template to the role. Not by `REASSIGN OWNED`, which would take the template's
/// owner the template as well.
fn own_everything(role: &str) -> String {
    let role = literal(role);
    format!(
        r"DO $do$
DECLARE statement text;
BEGIN
  FOR statement IN
    WITH mine AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
    extension AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e')
    SELECT format('ALTER SCHEMA %s OWNER TO %I', oid::regnamespace, {role}) FROM mine
    UNION ALL
    SELECT format('ALTER %s %s OWNER TO %I',
        CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
            WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, c.oid::regclass, {role})
      FROM pg_class c
     WHERE relnamespace IN (SELECT oid FROM mine) AND relkind IN ('r', 'p', 'S', 'v', 'm', 'f')
       AND ('pg_class'::regclass, c.oid) NOT IN (SELECT classid, objid FROM extension)
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                        AND d.deptype IN ('a', 'i') AND c.relkind = 'S')
    UNION ALL
    SELECT format('ALTER %s %s OWNER TO %I', CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END,
        t.oid::regtype, {role})
      FROM pg_type t
     WHERE typnamespace IN (SELECT oid FROM mine)
       AND (typtype IN ('e', 'd', 'r')
            OR typtype = 'c' AND (SELECT relkind FROM pg_class WHERE oid = typrelid) = 'c')
       AND ('pg_type'::regclass, t.oid) NOT IN (SELECT classid, objid FROM extension)
    UNION ALL
    SELECT format('ALTER ROUTINE %s OWNER TO %I', p.oid::regprocedure, {role})
      FROM pg_proc p
     WHERE pronamespace IN (SELECT oid FROM mine)
       AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM extension)
  LOOP EXECUTE statement; END LOOP;
END $do$"
    )
}
