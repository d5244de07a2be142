//! How large tables and indexes are.

use super::fixture::broken;
use crate::Failure;
use pgwire::Client;

/// A table or an index, and the bytes of its main file.
///
/// Exact, but only as good as what is on the pages: free space and dead rows count, so vacuum first. Cannot see: the
/// free-space and visibility maps, and values that a table keeps out of line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub name: String,
    /// For an index, its table.
    pub index_of: Option<String>,
    pub size_bytes: u64,
}

/// Every table, materialized view and index outside the system's schemas, by name.
pub(super) async fn read(client: &mut Client) -> Result<Vec<Relation>, Failure> {
    let sql = "SELECT c.oid::regclass AS name, i.indrelid::regclass AS index_of, pg_relation_size(c.oid) AS bytes
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 LEFT JOIN pg_index i ON i.indexrelid = c.oid
                WHERE c.relkind IN ('r', 'm', 'i') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
                ORDER BY 1";
    let rows = client
        .query(sql)
        .await
        .map_err(broken("read the sizes of relations"))?;
    let relation = |row: &pgwire::Row| {
        Some(Relation {
            name: row.get("name")?.to_owned(),
            index_of: row.get("index_of").map(str::to_owned),
            size_bytes: row.get("bytes")?.parse().ok()?,
        })
    };
    Ok(rows.iter().filter_map(relation).collect())
}
