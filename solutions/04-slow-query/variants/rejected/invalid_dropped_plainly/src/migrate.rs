use sqlx::migrate::Migrate;
use sqlx::{AssertSqlSafe, Connection, Executor, PgPool};

pub use sqlx::migrate::MigrateError;

/// Runs every migration under `migrations/` that this database has not recorded yet.
///
/// Indices are built and dropped CONCURRENTLY, so that writers never queue behind a deploy. The price is that such a
/// statement is not transactional: a killed one leaves an invalid index, which every write maintains, which no plan uses
/// and which IF NOT EXISTS takes for done. So what an earlier run left half-built goes first.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    drop_half_built_indices(pool).await?;
    sqlx::migrate!().run(pool).await
}

/// Under the migrations' lock, because an index that another deploy is building right now is invalid as well.
async fn drop_half_built_indices(pool: &PgPool) -> Result<(), MigrateError> {
    // A session of its own: the lock ends with it, so that an error cannot leave it behind on a pooled connection.
    let mut conn = pool.acquire().await?.detach();
    conn.lock().await?;
    let drops: Vec<String> = sqlx::query_scalar(
        "SELECT format('DROP INDEX IF EXISTS %s', indexrelid::regclass)
         FROM pg_index
         WHERE indrelid = to_regclass('users') AND NOT indisvalid",
    )
    .fetch_all(&mut conn)
    .await?;
    for drop in drops {
        conn.execute(AssertSqlSafe(drop)).await?;
    }
    Ok(conn.close().await?)
}
