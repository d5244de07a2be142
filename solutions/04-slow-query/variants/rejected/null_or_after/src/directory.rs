use sqlx::PgPool;

use crate::{Cursor, Error, Page, Result, Status, User};

/// The user directory. Cheap to clone: clones share the pool.
#[derive(Clone, Debug)]
pub struct Directory {
    pool: PgPool,
}

impl Directory {
    pub fn new(pool: PgPool) -> Self {
        Directory { pool }
    }

    /// The active users of a region, newest first, users of one moment by descending id. Pass [`Page::next`] as `after`
    /// to go on where a page ended.
    pub async fn list_active(&self, region: &str, after: Option<Cursor>, limit: u32) -> Result<Page> {
        let (created_at, id) = after.map(|cursor| (cursor.created_at, cursor.id)).unzip();
        let users: Vec<User> = sqlx::query_as(
            "SELECT id, email, region, status::text, verified, bio, created_at
             FROM users
             WHERE region = $1 AND status = 'active'
               AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3))
             ORDER BY created_at DESC, id DESC
             LIMIT $4",
        )
        .bind(region)
        .bind(created_at)
        .bind(id)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;

        let last = users.last().filter(|_| users.len() == limit as usize);
        let next = last.map(|user| Cursor {
            created_at: user.created_at,
            id: user.id,
        });
        Ok(Page { users, next })
    }

    /// How many users of a region are active.
    pub async fn count_active(&self, region: &str) -> Result<i64> {
        let count = sqlx::query_scalar("SELECT count(*) FROM users WHERE region = $1 AND status = 'active'")
            .bind(region)
            .fetch_one(&self.pool)
            .await?;
        Ok(count)
    }

    /// The user who has this address, however it is capitalised.
    pub async fn find_by_email(&self, email: &str) -> Result<Option<User>> {
        let user = sqlx::query_as(
            "SELECT id, email, region, status::text, verified, bio, created_at
             FROM users
             WHERE lower(email) = lower($1)
             LIMIT 1",
        )
        .bind(email)
        .fetch_optional(&self.pool)
        .await?;
        Ok(user)
    }

    pub async fn set_status(&self, id: i64, s: Status) -> Result<()> {
        let done = sqlx::query("UPDATE users SET status = $2::user_status WHERE id = $1")
            .bind(id)
            .bind(s.as_str())
            .execute(&self.pool)
            .await?;
        found(id, done.rows_affected())
    }

    pub async fn set_bio(&self, id: i64, bio: &str) -> Result<()> {
        let done = sqlx::query("UPDATE users SET bio = $2 WHERE id = $1")
            .bind(id)
            .bind(bio)
            .execute(&self.pool)
            .await?;
        found(id, done.rows_affected())
    }
}

fn found(id: i64, rows: u64) -> Result<()> {
    if rows == 0 {
        Err(Error::UnknownUser(id))
    } else {
        Ok(())
    }
}
