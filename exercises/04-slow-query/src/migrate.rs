use sqlx::PgPool;

pub use sqlx::migrate::MigrateError;

/// Runs every migration under `migrations/` that this database has not recorded yet.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    sqlx::migrate!().run(pool).await
}
