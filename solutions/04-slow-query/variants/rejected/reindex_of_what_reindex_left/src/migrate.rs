use sqlx::migrate::Migrate;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

pub use sqlx::migrate::MigrateError;

/// Runs every migration under `migrations/` that this database has not recorded yet, then mends what an earlier run was
/// killed over: an index that is not valid is built again under its name.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    sqlx::migrate!().run(pool).await?;

    let mut conn = pool.acquire().await?.detach();
    conn.lock().await?;
    for statement in invalid(&mut conn).await? {
        conn.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(conn.close().await?)
}

/// A statement for each invalid index.
async fn invalid(conn: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT format('REINDEX INDEX CONCURRENTLY %s', indexrelid::regclass)
         FROM pg_index
         WHERE indrelid = to_regclass('users') AND NOT indisvalid",
    )
    .fetch_all(conn)
    .await
}
