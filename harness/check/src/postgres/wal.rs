//! What writes cost in indexes, from the write-ahead log.

use super::fixture::{broken, literal};
use super::stats::extension;
use crate::Failure;
use pgwire::{Client, Config};
use std::collections::BTreeMap;

/// Counts entries that were added to the indexes of one database since it was started.
///
/// Exact and repeatable, unlike the log's size: one record for each entry, whoever wrote it. For B-trees these are
/// `INSERT_LEAF`, `INSERT_POST` and splits of leaves; the other kinds have their own. Costs nothing while it counts;
/// reading goes through the log that was written in between. Cannot see: unlogged and temporary tables, the building
/// of a new index, entries that a GIN index keeps pending (the page that takes them counts).
#[derive(Debug)]
pub struct IndexWrites {
    /// In the maintenance database, so that nothing is added to the subject's.
    maintenance: Client,
    inside: Client,
    from: String,
}

/// Entries added to one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexWrite {
    pub table: String,
    pub index: String,
    pub entries: u64,
}

const ENTRIES: &str = "
    resource_manager = 'Btree' AND (record_type IN ('INSERT_LEAF', 'INSERT_POST')
        OR record_type LIKE 'SPLIT%' AND description LIKE 'level 0,%')
    OR resource_manager = 'Hash' AND record_type = 'INSERT'
    OR resource_manager = 'Gin' AND record_type IN ('INSERT', 'UPDATE_META_PAGE')
    OR resource_manager = 'Gist' AND record_type IN ('PAGE_UPDATE', 'PAGE_SPLIT')
    OR resource_manager = 'SPGist' AND record_type = 'ADD_LEAF'
    OR resource_manager = 'BRIN' AND record_type IN ('INSERT', 'UPDATE', 'SAMEPAGE_UPDATE')";

impl IndexWrites {
    pub(super) async fn start(admin: &Config, inside: Client) -> Result<IndexWrites, Failure> {
        let mut maintenance = Client::connect(admin)
            .await
            .map_err(broken("connect to PostgreSQL"))?;
        extension(&mut maintenance, "pg_walinspect").await?;
        // Other checks' databases are copied meanwhile, and the server recycles what it has checkpointed. A slot of this
        // session keeps the log from here on, and goes with the session.
        maintenance
            .query("SELECT pg_create_physical_replication_slot('grader_' || pg_backend_pid(), true, true)")
            .await
            .map_err(broken("keep the write-ahead log"))?;
        let mut writes = IndexWrites {
            maintenance,
            inside,
            from: String::new(),
        };
        writes.restart().await?;
        Ok(writes)
    }

    /// Counts from here on.
    pub async fn restart(&mut self) -> Result<(), Failure> {
        self.from = self.position().await?;
        Ok(())
    }

    /// The entries added since it was started, by index; indexes without any are left out.
    pub async fn read(&mut self) -> Result<Vec<IndexWrite>, Failure> {
        let to = self.position().await?;
        if to == self.from {
            return Ok(Vec::new());
        }
        let by_file = self.by_file(&to).await?;
        let files = self
            .inside
            .query(
                "SELECT pg_relation_filenode(i.indexrelid) AS file, i.indexrelid::regclass AS index,
                        i.indrelid::regclass AS table FROM pg_index i
                   JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname !~ '^pg_' ORDER BY 2",
            )
            .await
            .map_err(broken("list indexes"))?;
        let write = |row: &pgwire::Row| {
            Some(IndexWrite {
                entries: *by_file.get(row.get("file")?)?,
                index: row.get("index")?.to_owned(),
                table: row.get("table")?.to_owned(),
            })
        };
        Ok(files.iter().filter_map(write).collect())
    }

    /// Entries by the file that holds the index, in this database only.
    async fn by_file(&mut self, to: &str) -> Result<BTreeMap<String, u64>, Failure> {
        let database = self
            .inside
            .query("SELECT oid FROM pg_database WHERE datname = current_database()")
            .await
            .map_err(broken("name the database"))?;
        let database = database.first().and_then(|row| row.text(0)).unwrap_or_default();
        let sql = format!(
            "SELECT (regexp_match(block_ref, 'rel [0-9]+/{database}/([0-9]+) '))[1] AS file, count(*)
               FROM pg_get_wal_records_info({}, {}) WHERE ({ENTRIES}) GROUP BY 1",
            literal(&self.from),
            literal(to)
        );
        let rows = self
            .maintenance
            .query(&sql)
            .await
            .map_err(broken("read the write-ahead log"))?;
        let count = |row: &pgwire::Row| Some((row.text(0)?.to_owned(), row.text(1)?.parse().ok()?));
        Ok(rows.iter().filter_map(count).collect())
    }

    /// Where the log ends, all of it written out so that it can be read.
    async fn position(&mut self) -> Result<String, Failure> {
        // A transaction that has a number leaves a record, and writes out everything before it when it commits.
        let written = self.maintenance.query("SELECT pg_current_xact_id()").await;
        written.map_err(broken("write the log out"))?;
        let position = self.maintenance.query("SELECT pg_current_wal_flush_lsn()").await;
        let rows = position.map_err(broken("find the end of the log"))?;
        rows.first()
            .and_then(|row| row.text(0))
            .map(str::to_owned)
            .ok_or_else(|| Failure::environment("failed to find the end of the log"))
    }
}
