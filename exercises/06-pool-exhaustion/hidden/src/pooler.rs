//! A check's database behind a PgBouncer of its own, configured as `deploy/pgbouncer.ini` says. The tap stands between
//! the two, so that it sees what the pooler's connections carry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::postgres::{PgTap, Postgres};
use harness::{Check, Failure};
use pgwire::{Client, Config, Row};

use crate::deploy;
use crate::outside::SetClock;
use crate::stage::{SOON, database, patient};
use crate::subject::{DbConfig, Orders};

pub struct Pooler {
    pub pg: Arc<Postgres>,
    pub tap: Arc<PgTap>,
    /// As the service's role comes in.
    door: Config,
    console: Config,
}

impl Pooler {
    pub async fn start(cx: &Check) -> Result<Pooler, Failure> {
        let pg = database(cx).await?;
        let tap = pg.another_tap().await?;
        let job = cx.pgbouncer_server(tap.config(), deploy::PGBOUNCER).await?;
        let door = Config {
            host: job.host.clone(),
            port: job.port,
            ..tap.config().clone()
        };
        let console = Config {
            user: job.admin_user,
            password: job.admin_password,
            database: "pgbouncer".to_owned(),
            ..door.clone()
        };
        Ok(Pooler {
            pg,
            tap,
            door,
            console,
        })
    }

    pub fn url(&self) -> String {
        let Config {
            host,
            port,
            user,
            password,
            database,
        } = &self.door;
        format!("postgres://{user}:{password}@{host}:{port}/{database}?sslmode=disable")
    }

    /// PgBouncer's own database, for its administrator.
    pub fn console(&self) -> &Config {
        &self.console
    }

    pub async fn replica(
        &self,
        max_db: usize,
        queue: usize,
        shorten: impl FnOnce(&mut DbConfig),
    ) -> Arc<Orders> {
        let mut cfg = patient(self.url(), max_db, queue);
        cfg.via_bouncer = true;
        shorten(&mut cfg);
        Arc::new(Orders::new(cfg, Arc::new(SetClock::default())).await)
    }

    /// Somebody else who works with the pooler: the same role, another program.
    pub async fn neighbour(&self) -> Result<Client, Failure> {
        Client::connect(&self.door)
            .await
            .map_err(|error| Failure::new(format!("another client of PgBouncer's is not let in: {error}")))
    }

    /// Lets PgBouncer replace its connections to the server as they come free, as after a change of the address. Not while
    /// it logs in, if that ends soon: a login that is broken off counts with it as one that failed, and it turns clients
    /// away for that.
    pub async fn reconnect(&self) -> Result<(), Failure> {
        let told = async {
            let mut console = Client::connect(&self.console).await?;
            let begun = Instant::now();
            while begun.elapsed() < SOON {
                let pools = console.query("SHOW POOLS").await?;
                let logging_in = |pool: &Row| pool.get("sv_login").is_some_and(|logins| logins != "0");
                if !pools.iter().any(logging_in) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            console.execute("RECONNECT").await
        };
        told.await
            .map(drop)
            .map_err(|error| Failure::environment(format!("failed to use PgBouncer's console: {error}")))
    }
}

impl Drop for Pooler {
    /// PgBouncer outlives the check's body, and would make new connections while the old ones are counted and ended.
    fn drop(&mut self) {
        std::mem::forget(self.tap.refuse());
        self.tap.cut_all();
    }
}
