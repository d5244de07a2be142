use std::sync::OnceLock;

use deadpool_postgres::{Manager, Pool};
use sqlx::{ConnectOptions, PgPool};
use tokio_postgres::{Config, NoTls, Row};

use crate::{Cursor, Error, Page, Result, Status, User};

/// The user directory. Cheap to clone: clones share the pool.
#[derive(Clone, Debug)]
pub struct Directory {
    given: PgPool,
    pool: OnceLock<Pool>,
}

impl Directory {
    pub fn new(pool: PgPool) -> Self {
        Directory {
            given: pool,
            pool: OnceLock::new(),
        }
    }

    /// The active users of a region, newest first, users of one moment by descending id. Pass [`Page::next`] as `after`
    /// to go on where a page ended.
    pub async fn list_active(&self, region: &str, after: Option<Cursor>, limit: u32) -> Result<Page> {
        let client = self.client().await?;
        let limit_rows = i64::from(limit);
        let rows = match after {
            None => {
                let statement = client
                    .prepare_cached(
                        "SELECT id, email, region, status::text, verified, bio, created_at FROM users
                         WHERE region = $1 AND status = 'active'
                         ORDER BY created_at DESC, id DESC LIMIT $2",
                    )
                    .await
                    .map_err(refused)?;
                client.query(&statement, &[&region, &limit_rows]).await
            }
            Some(Cursor { created_at, id }) => {
                let statement = client
                    .prepare_cached(
                        "SELECT id, email, region, status::text, verified, bio, created_at FROM users
                         WHERE region = $1 AND status = 'active' AND (created_at, id) < ($2, $3)
                         ORDER BY created_at DESC, id DESC LIMIT $4",
                    )
                    .await
                    .map_err(refused)?;
                client
                    .query(&statement, &[&region, &created_at, &id, &limit_rows])
                    .await
            }
        };
        let users = rows
            .map_err(refused)?
            .iter()
            .map(user)
            .collect::<Result<Vec<User>>>()?;

        let last = users.last().filter(|_| users.len() == limit as usize);
        let next = last.map(|user| Cursor {
            created_at: user.created_at,
            id: user.id,
        });
        Ok(Page { users, next })
    }

    /// How many users of a region are active.
    pub async fn count_active(&self, region: &str) -> Result<i64> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached("SELECT count(*) FROM users WHERE region = $1 AND status = 'active'")
            .await
            .map_err(refused)?;
        let row = client.query_one(&statement, &[&region]).await.map_err(refused)?;
        row.try_get(0).map_err(refused)
    }

    /// The user who has this address, however it is capitalised.
    pub async fn find_by_email(&self, email: &str) -> Result<Option<User>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "SELECT id, email, region, status::text, verified, bio, created_at FROM users
                 WHERE lower(email) = lower($1) LIMIT 1",
            )
            .await
            .map_err(refused)?;
        let row = client.query_opt(&statement, &[&email]).await.map_err(refused)?;
        row.as_ref().map(user).transpose()
    }

    pub async fn set_status(&self, id: i64, s: Status) -> Result<()> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached("UPDATE users SET status = ($2::text)::user_status WHERE id = $1")
            .await
            .map_err(refused)?;
        let rows = client
            .execute(&statement, &[&id, &s.as_str()])
            .await
            .map_err(refused)?;
        found(id, rows)
    }

    pub async fn set_bio(&self, id: i64, bio: &str) -> Result<()> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached("UPDATE users SET bio = $2 WHERE id = $1")
            .await
            .map_err(refused)?;
        let rows = client.execute(&statement, &[&id, &bio]).await.map_err(refused)?;
        found(id, rows)
    }

    /// To the address that the given pool connects to, and with as many connections at most.
    async fn client(&self) -> Result<deadpool_postgres::Client> {
        let pool = match self.pool.get() {
            Some(pool) => pool,
            None => {
                let url = self.given.connect_options().to_url_lossy();
                let mut config = Config::new();
                config
                    .host(url.host_str().unwrap_or("localhost"))
                    .port(url.port().unwrap_or(5432))
                    .user(url.username())
                    .password(url.password().unwrap_or_default())
                    .dbname(url.path().trim_start_matches('/'));
                let connections = self.given.options().get_max_connections() as usize;
                let pool = Pool::builder(Manager::new(config, NoTls))
                    .max_size(connections)
                    .build()
                    .map_err(refused)?;
                self.pool.get_or_init(|| pool)
            }
        };
        pool.get().await.map_err(refused)
    }
}

fn user(row: &Row) -> Result<User> {
    let label: String = row.try_get(3).map_err(refused)?;
    Ok(User {
        id: row.try_get(0).map_err(refused)?,
        email: row.try_get(1).map_err(refused)?,
        region: row.try_get(2).map_err(refused)?,
        status: Status::try_from(label).map_err(refused)?,
        verified: row.try_get(4).map_err(refused)?,
        bio: row.try_get(5).map_err(refused)?,
        created_at: row.try_get(6).map_err(refused)?,
    })
}

fn refused(error: impl ToString) -> Error {
    Error::Database(sqlx::Error::Protocol(error.to_string()))
}

fn found(id: i64, rows: u64) -> Result<()> {
    if rows == 0 {
        Err(Error::UnknownUser(id))
    } else {
        Ok(())
    }
}
