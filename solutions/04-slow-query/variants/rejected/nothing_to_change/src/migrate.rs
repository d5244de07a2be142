use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

pub use sqlx::migrate::MigrateError;

/// The migrations that build an index, by version.
const BUILT: [(i64, &str); 3] = [
    (2, "users_listing_idx"),
    (3, "users_counting_idx"),
    (4, "users_finding_idx"),
];

/// Runs every migration under `migrations/` that this database has not recorded yet.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    // Building waits for the transactions that are open, however long: no timeout of the service may end it. Nobody
    // waits for the build meanwhile.
    let patient = PgConnectOptions::clone(&Arc::clone(&pool.connect_options()))
        .options([("statement_timeout", "0"), ("lock_timeout", "0")]);
    let mut conn = PgConnection::connect_with(&patient).await?;
    let migrated = run(&mut conn).await;
    conn.close().await.ok();
    migrated
}

async fn run(conn: &mut PgConnection) -> Result<(), MigrateError> {
    tidy(conn).await?;
    sqlx::migrate!().run(&mut *conn).await?;
    analyze(conn).await?;
    Ok(())
}

/// Removes what a killed deploy left half done, so that `IF NOT EXISTS` does not take it for the real thing.
async fn tidy(conn: &mut PgConnection) -> sqlx::Result<()> {
    let halves: Vec<String> = sqlx::query_scalar(
        "SELECT indexrelid::regclass::text FROM pg_index
         WHERE indrelid = to_regclass('users') AND NOT (indisvalid AND indisready AND indislive)",
    )
    .fetch_all(&mut *conn)
    .await?;
    for half in halves {
        let drop = AssertSqlSafe(format!("DROP INDEX CONCURRENTLY IF EXISTS {half}"));
        sqlx::raw_sql(drop).execute(&mut *conn).await?;
    }
    let recorded: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *conn)
        .await?;
    if recorded {
        sqlx::query("DELETE FROM _sqlx_migrations WHERE NOT success")
            .execute(&mut *conn)
            .await?;
        for (version, index) in BUILT {
            sqlx::query("DELETE FROM _sqlx_migrations WHERE version = $1 AND to_regclass($2) IS NULL")
                .bind(version)
                .bind(index)
                .execute(&mut *conn)
                .await?;
        }
    }
    Ok(())
}

/// Before the planner has seen the addresses' hashes it expects each of them hundreds of times.
async fn analyze(conn: &mut PgConnection) -> sqlx::Result<()> {
    let blind: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM users)
            AND NOT EXISTS (SELECT FROM pg_stats WHERE tablename = 'users_finding_idx')",
    )
    .fetch_one(&mut *conn)
    .await?;
    if blind {
        sqlx::raw_sql("ANALYZE users").execute(&mut *conn).await?;
    }
    Ok(())
}
