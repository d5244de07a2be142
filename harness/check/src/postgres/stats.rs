//! What statements cost the server, from `pg_stat_statements`.

use super::fixture::{broken, literal};
use crate::Failure;
use pgwire::{Client, Config, Row};

/// Statistics of one role's statements in one database.
///
/// Exact: the server adds up each execution's shared blocks, found in its cache or read, when the execution ends.
/// Costs a few microseconds per statement on the server. Cannot see: statements that failed or that are still running;
/// which of the blocks the same statement touched twice. A statement's blocks include those of the functions it
/// calls, which stand in rows of their own as well (with [`StatementStat::toplevel`] off).
#[derive(Debug)]
pub struct StatementStats {
    client: Client,
    role: String,
    database: String,
}

/// One statement's statistics since they were reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementStat {
    /// Its text, constants replaced by `$n`.
    pub query: String,
    pub calls: u64,
    pub rows: u64,
    /// Shared blocks found in the cache or read, by all calls.
    pub blocks: u64,
    /// Whether a client sent it, as opposed to a function.
    pub toplevel: bool,
}

impl StatementStat {
    pub fn blocks_per_call(&self) -> f64 {
        self.blocks as f64 / self.calls.max(1) as f64
    }
}

impl StatementStats {
    pub(super) async fn connect(
        admin: &Config,
        role: &str,
        database: &str,
    ) -> Result<StatementStats, Failure> {
        let mut client = Client::connect(admin)
            .await
            .map_err(broken("connect to PostgreSQL"))?;
        extension(&mut client, "pg_stat_statements").await?;
        Ok(StatementStats {
            client,
            role: literal(role),
            database: literal(database),
        })
    }

    /// Forgets this role's statements in this database, and nobody else's.
    pub async fn reset(&mut self) -> Result<(), Failure> {
        let sql = format!(
            "SELECT pg_stat_statements_reset(r.oid, d.oid, 0) FROM pg_roles r, pg_database d
              WHERE r.rolname = {} AND d.datname = {}",
            self.role, self.database
        );
        self.client
            .query(&sql)
            .await
            .map_err(broken("reset statement statistics"))?;
        Ok(())
    }

    /// Every statement since the reset, the most expensive first.
    pub async fn read(&mut self) -> Result<Vec<StatementStat>, Failure> {
        let sql = format!(
            "SELECT query, calls, rows, shared_blks_hit + shared_blks_read AS blocks, toplevel
               FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid JOIN pg_database d ON d.oid = s.dbid
              WHERE r.rolname = {} AND d.datname = {} ORDER BY blocks DESC, query",
            self.role, self.database
        );
        let rows = self
            .client
            .query(&sql)
            .await
            .map_err(broken("read statement statistics"))?;
        Ok(rows.iter().map(StatementStat::of).collect())
    }

    /// The blocks of everything that clients ran since the reset.
    pub async fn blocks(&mut self) -> Result<u64, Failure> {
        Ok(self
            .read()
            .await?
            .iter()
            .filter(|stat| stat.toplevel)
            .map(|stat| stat.blocks)
            .sum())
    }
}

impl StatementStat {
    fn of(row: &Row) -> StatementStat {
        let number = |column| row.get(column).and_then(|text| text.parse().ok()).unwrap_or(0);
        StatementStat {
            query: row.get("query").unwrap_or_default().to_owned(),
            calls: number("calls"),
            rows: number("rows"),
            blocks: number("blocks"),
            toplevel: row.get("toplevel") == Some("t"),
        }
    }
}

/// Makes an extension in the maintenance database, where checks that run side by side may do the same.
pub(super) async fn extension(client: &mut Client, name: &str) -> Result<(), Failure> {
    // Two at once are not serialized by the server; a lock of our own does it.
    let sql = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtext('extension')); CREATE EXTENSION IF NOT EXISTS {name}; COMMIT"
    );
    if let Err(error) = client.execute(&sql).await {
        client.execute("ROLLBACK").await.ok();
        return Err(broken("make an extension")(error));
    }
    Ok(())
}
