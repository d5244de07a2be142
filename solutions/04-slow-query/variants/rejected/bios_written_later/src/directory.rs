use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::PgPool;

use crate::{Cursor, Error, Page, Result, Status, User};

/// Bios that are written together.
const BATCH: usize = 64;

/// The user directory. Cheap to clone: clones share the pool.
#[derive(Clone, Debug)]
pub struct Directory {
    pool: PgPool,
    bios: Arc<Mutex<HashMap<i64, String>>>,
}

impl Directory {
    pub fn new(pool: PgPool) -> Self {
        Directory {
            pool,
            bios: Arc::default(),
        }
    }

    /// The active users of a region, newest first, users of one moment by descending id. Pass [`Page::next`] as `after`
    /// to go on where a page ended.
    pub async fn list_active(&self, region: &str, after: Option<Cursor>, limit: u32) -> Result<Page> {
        let (created_at, id) = after.map(|cursor| (cursor.created_at, cursor.id)).unzip();
        let users: Vec<User> = sqlx::query_as(
            "SELECT id, email, region, status::text, verified, bio, created_at
             FROM users
             WHERE region = $1 AND status = 'active'
               AND (created_at, id) < (COALESCE($2, 'infinity'::timestamptz), COALESCE($3, 0))
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

    /// Kept until there are enough of them to be written in one go.
    pub async fn set_bio(&self, id: i64, bio: &str) -> Result<()> {
        let batch = {
            let mut bios = self.bios.lock().unwrap_or_else(PoisonError::into_inner);
            bios.insert(id, bio.to_owned());
            if bios.len() < BATCH {
                return Ok(());
            }
            std::mem::take(&mut *bios)
        };
        let (ids, bios): (Vec<i64>, Vec<String>) = batch.into_iter().unzip();
        sqlx::query(
            "UPDATE users SET bio = new.bio
             FROM (SELECT unnest($1::bigint[]) AS id, unnest($2::text[]) AS bio) AS new
             WHERE users.id = new.id",
        )
        .bind(ids)
        .bind(bios)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn found(id: i64, rows: u64) -> Result<()> {
    if rows == 0 {
        Err(Error::UnknownUser(id))
    } else {
        Ok(())
    }
}
