use std::fmt::Display;
use std::sync::Arc;

use harness::postgres::{PgTap, Postgres};
use harness::{Check, Failure, OrObserved};
use pgwire::{Client, Row};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::others;
use crate::subject::{self, Directory, User};

/// A check's database and the grader's session on it, past the tap.
pub struct Stage {
    pub pg: Arc<Postgres>,
    pub admin: Client,
}

impl Stage {
    /// The grown table, as the seed made it.
    pub async fn grown(cx: &Check) -> Result<Stage, Failure> {
        let pg = cx.postgres().await?;
        let admin = pg.admin().await?;
        Ok(Stage { pg, admin })
    }

    /// The same dump with `rows` users, for promises that have nothing to do with size.
    pub async fn small(cx: &Check, rows: u32) -> Result<Stage, Failure> {
        let pg = cx.empty_postgres().await?;
        let admin = pg.admin().await?;
        let mut stage = Stage { pg, admin };
        stage.restore(rows).await?;
        Ok(stage)
    }

    /// [`Stage::small`], and the subject deployed on it.
    pub async fn deployed(cx: &Check, rows: u32) -> Result<Stage, Failure> {
        let stage = Stage::small(cx, rows).await?;
        stage.migrate().await?;
        Ok(stage)
    }

    /// Throws away all that the subject owns and restores the dump with `rows` users. Every third of the active ones came
    /// in an import and shares the first moment of a month with others.
    pub async fn restore(&mut self, rows: u32) -> Result<(), Failure> {
        let role = self.pg.role();
        let seed = include_str!("../seed.sql").replace(":rows", &rows.to_string());
        let script = format!(
            "DROP OWNED BY \"{role}\" CASCADE;
             DROP SCHEMA IF EXISTS public CASCADE;
             CREATE SCHEMA public AUTHORIZATION \"{role}\";
             SET SESSION AUTHORIZATION \"{role}\";
             {seed}
             UPDATE users SET created_at = date_trunc('month', created_at) + interval '7 microseconds'
             WHERE status = 'active' AND id % 3 = 0;
             RESET SESSION AUTHORIZATION;"
        );
        self.admin.execute(&script).await.map_err(ours)?;
        Ok(())
    }

    pub fn tap(&self) -> &PgTap {
        self.pg.tap()
    }

    /// A pool as a replica of the service has it.
    pub async fn pool(&self, connections: u32) -> Result<PgPool, Failure> {
        connect(&self.pg.url(), connections).await.map_err(ours)
    }

    /// Deploys the subject.
    pub async fn migrate(&self) -> Result<(), Failure> {
        let pool = self.pool(5).await?;
        subject::migrate(&pool)
            .await
            .or_observed("migrate failed on the restored dump")?;
        pool.close().await;
        Ok(())
    }

    /// A replica of the service on a pool of its own.
    pub async fn replica(&self, connections: u32) -> Result<Directory, Failure> {
        Ok(Directory::new(self.pool(connections).await?))
    }

    /// What vacuum does in a quiet hour: without it, counts depend on when it last came by.
    pub async fn vacuum(&mut self) -> Result<(), Failure> {
        self.admin.execute("VACUUM (ANALYZE)").await.map_err(ours)?;
        Ok(())
    }

    pub async fn ask(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        self.admin
            .query(sql)
            .await
            .or_observed(format_args!("`{sql}` failed"))
    }

    /// The one value that `sql` answers with.
    pub async fn ask_one<T: std::str::FromStr>(&mut self, sql: &str) -> Result<T, Failure> {
        let rows = self.ask(sql).await?;
        let value = rows.first().and_then(|row| row.text(0)?.parse().ok());
        value.ok_or_else(|| ours(format_args!("no value from `{sql}`")))
    }

    /// Adds an active user as the sign-up service does; the new id.
    pub async fn sign_up(&mut self, region: &str, email: &str) -> Result<i64, Failure> {
        self.ask_one(&others::sign_up(region, email)).await
    }

    /// The active users of a region in the order of the contract, asked for as naively as can be.
    pub async fn active(&mut self, region: &str) -> Result<Vec<Listed>, Failure> {
        let rows = self
            .ask(&format!(
                "SELECT id, (extract(epoch FROM created_at) * 1000000)::bigint, email, verified, bio \
                 FROM users WHERE region = '{region}' AND status = 'active' ORDER BY created_at DESC, id DESC"
            ))
            .await?;
        let read = |row: &Row| {
            Some(Listed {
                id: row.text(0)?.parse().ok()?,
                moment_us: row.text(1)?.parse().ok()?,
                email: row.text(2)?.to_owned(),
                verified: row.text(3)? == "t",
                bio: row.text(4)?.to_owned(),
            })
        };
        let users: Option<Vec<Listed>> = rows.iter().map(read).collect();
        users.ok_or_else(|| ours("an active user cannot be read"))
    }

    /// Indices that cost every write and serve no query.
    pub async fn invalid_indices(&mut self) -> Result<Vec<String>, Failure> {
        self.indices("NOT (i.indisvalid AND i.indisready)").await
    }

    /// What every index is, by name.
    pub async fn schema(&mut self) -> Result<Vec<String>, Failure> {
        self.indices("true").await
    }

    /// The indices that have that column among their keys, or in an expression or a condition; not those that only carry
    /// it along.
    pub async fn indices_on(&mut self, column: &str) -> Result<Vec<String>, Failure> {
        self.indices(&format!(
            "(EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attname = '{column}' \
                      AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) \
              OR concat(pg_get_expr(i.indexprs, i.indrelid), ' ', pg_get_expr(i.indpred, i.indrelid)) ~ '\\m{column}\\M')"
        ))
        .await
    }

    /// The definitions of all indices outside the system's schemas for which the condition holds.
    async fn indices(&mut self, condition: &str) -> Result<Vec<String>, Failure> {
        let sql = format!(
            "SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND {condition} ORDER BY 1"
        );
        let rows = self.ask(&sql).await?;
        Ok(rows
            .iter()
            .filter_map(|row| row.text(0).map(str::to_owned))
            .collect())
    }
}

/// A pool of so many connections at most.
pub async fn connect(url: &str, connections: u32) -> sqlx::Result<PgPool> {
    PgPoolOptions::new()
        .max_connections(connections)
        .connect(url)
        .await
}

/// An active user as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: i64,
    /// Microseconds since the epoch.
    pub moment_us: i64,
    pub email: String,
    pub verified: bool,
    pub bio: String,
}

impl From<&User> for Listed {
    fn from(user: &User) -> Self {
        Listed {
            id: user.id,
            moment_us: i64::try_from(user.created_at.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX),
            email: user.email.clone(),
            verified: user.verified,
            bio: user.bio.clone(),
        }
    }
}

/// A failure of the grader's own questions: nothing that the subject did.
pub fn ours(error: impl Display) -> Failure {
    Failure::environment(format!("the grader's own session failed: {error}"))
}
