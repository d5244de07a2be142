use sqlx::migrate::Migrate;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

pub use sqlx::migrate::MigrateError;

/// Runs every migration under `migrations/` that this database has not recorded yet, then mends what an earlier run was
/// killed over: an index that is not valid is built again under its name.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    sqlx::migrate!().run(pool).await?;

    let mut conn = pool.acquire().await?.detach();
    conn.lock().await?;
    for statement in invalid(&mut conn, "REINDEX INDEX CONCURRENTLY", "!~").await? {
        conn.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(conn.close().await?)
}

/// A statement for each invalid index whose name does, or does not, match what REINDEX gives to its own.
async fn invalid(conn: &mut PgConnection, what: &str, matches: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT format('{what} %s', indexrelid::regclass)
         FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
         WHERE indrelid = to_regclass('users') AND NOT indisvalid AND relname {matches} '_cc(new|old)[0-9]*$'"
    )))
    .fetch_all(conn)
    .await
}
