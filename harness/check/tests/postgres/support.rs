//! A database per test, and a pool on its tap.

use harness::postgres::{PgTap, Postgres};
use pgwire::Config;
use sqlx::postgres::{PgPool, PgPoolOptions};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use verdict::wire::PostgresJob;

/// Liveness only.
pub const SOON: Duration = Duration::from_secs(10);

pub struct Bed {
    pub pg: Postgres,
}

/// A database of one's own, with an empty table `t (id bigint primary key, v text)`.
pub async fn bed() -> Bed {
    let job = job(None);
    let pg = Postgres::make(&job, &harness_thread(), "secret".to_owned())
        .await
        .unwrap();
    let mut owner = pg.as_subject().await.unwrap();
    owner
        .execute("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
        .await
        .unwrap();
    Bed { pg }
}

/// The tests' own server, and a database's name that nobody has used.
pub fn job(template: Option<&str>) -> PostgresJob {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let Config {
        host,
        port,
        user,
        password,
        ..
    } = services::testing::postgres_admin();
    PostgresJob {
        host,
        port,
        admin_user: user,
        admin_password: password,
        template: template.map(str::to_owned),
        database: format!("tap_{}_{number}", std::process::id()),
    }
}

/// The runtime of what belongs to the grader, on a thread of its own as in a check.
pub fn harness_thread() -> Handle {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    HANDLE.get_or_init(harness::harness_runtime).clone()
}

impl Bed {
    pub fn tap(&self) -> &PgTap {
        self.pg.tap()
    }

    pub async fn pool(&self, connections_max: u32) -> PgPool {
        pool(&self.pg.url(), connections_max).await
    }

    /// What the first column of the first row says, asked past the tap.
    pub async fn truth(&self, sql: &str) -> String {
        let rows = self.pg.admin().await.unwrap().query(sql).await.unwrap();
        rows[0].text(0).unwrap_or_default().to_owned()
    }

    /// Waits until the server works for that session.
    pub async fn until_active(&self, pid: i32) {
        let sql = format!("SELECT coalesce(max(state), '') FROM pg_stat_activity WHERE pid = {pid}");
        harness::eventually(SOON, "a statement under way", async || {
            (self.truth(&sql).await == "active").then_some(())
        })
        .await
        .unwrap();
    }

    /// Statistics and visibility as a grader leaves them before it counts blocks.
    pub async fn vacuum(&self) {
        self.pg
            .admin()
            .await
            .unwrap()
            .execute("VACUUM ANALYZE")
            .await
            .unwrap();
    }

    /// Nobody went past the tap, and the database goes away.
    pub async fn finish(self) {
        if let Err(failure) = self.pg.finish().await {
            panic!("{failure:?}");
        }
    }
}

pub async fn pool(url: &str, connections_max: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(SOON)
        .connect(url)
        .await
        .unwrap()
}
