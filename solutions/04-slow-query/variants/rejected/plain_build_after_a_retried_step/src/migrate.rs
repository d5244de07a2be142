use sqlx::migrate::Migrate;
use sqlx::{AssertSqlSafe, Connection, Executor, PgPool};

pub use sqlx::migrate::MigrateError;

/// `lock_not_available`
const LOCK_TIMEOUT: &str = "55P03";

/// Runs every migration under `migrations/` that this database has not recorded yet.
///
/// One of them needs the table to itself. While it waits for that, every writer queues behind it, so it waits for 300 ms at
/// most; then the queue passes, and it is tried again.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    drop_half_built_indices(pool).await?;
    let mut conn = pool.acquire().await?.detach();
    loop {
        match sqlx::migrate!().run(&mut conn).await {
            Err(error) if gave_up_waiting(&error) => {
                conn.execute("SELECT pg_sleep(0.2)").await?;
            }
            outcome => {
                outcome?;
                return Ok(conn.close().await?);
            }
        }
    }
}

fn gave_up_waiting(error: &MigrateError) -> bool {
    let MigrateError::ExecuteMigration(error, _) = error else {
        return false;
    };
    error
        .as_database_error()
        .is_some_and(|error| error.code().as_deref() == Some(LOCK_TIMEOUT))
}

/// Under the migrations' lock, because an index that another deploy is building right now is invalid as well.
async fn drop_half_built_indices(pool: &PgPool) -> Result<(), MigrateError> {
    // A session of its own: the lock ends with it, so that an error cannot leave it behind on a pooled connection.
    let mut conn = pool.acquire().await?.detach();
    conn.lock().await?;
    let drops: Vec<String> = sqlx::query_scalar(
        "SELECT format('DROP INDEX CONCURRENTLY IF EXISTS %s', indexrelid::regclass)
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
