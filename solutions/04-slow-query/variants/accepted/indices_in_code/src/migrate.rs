use sqlx::migrate::Migrate;
use sqlx::{Connection, PgConnection, PgPool};

pub use sqlx::migrate::MigrateError;

struct Index {
    name: &'static str,
    create: &'static str,
    drop: &'static str,
}

const WANTED: [Index; 2] = [
    Index {
        name: "users_listing_idx",
        create: "CREATE INDEX CONCURRENTLY users_listing_idx ON users (region, status, created_at DESC, id DESC)",
        drop: "DROP INDEX CONCURRENTLY users_listing_idx",
    },
    Index {
        name: "users_email_idx",
        create: "CREATE INDEX CONCURRENTLY users_email_idx ON users (lower(email))",
        drop: "DROP INDEX CONCURRENTLY users_email_idx",
    },
];

/// Runs every migration under `migrations/` that this database has not recorded yet, then brings the indices to the state
/// that is wanted, whatever state an earlier run left them in.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    sqlx::migrate!().run(pool).await?;

    let mut conn = pool.acquire().await?.detach();
    conn.lock().await?;
    for index in WANTED {
        let valid = validity(&mut conn, index.name).await?;
        if valid == Some(false) {
            sqlx::raw_sql(index.drop).execute(&mut conn).await?;
        }
        if valid != Some(true) {
            sqlx::raw_sql(index.create).execute(&mut conn).await?;
        }
    }
    for drop in [
        "DROP INDEX CONCURRENTLY IF EXISTS users_verified_idx",
        "DROP INDEX CONCURRENTLY IF EXISTS users_active_idx",
    ] {
        sqlx::raw_sql(drop).execute(&mut conn).await?;
    }
    conn.close().await?;
    Ok(())
}

async fn validity(conn: &mut PgConnection, index: &str) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)")
        .bind(index)
        .fetch_optional(conn)
        .await
}
