use sqlx::{AssertSqlSafe, FromRow, PgPool, Row};

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
        let after = after.map_or(String::new(), |cursor| {
            let micros = cursor.created_at.unix_timestamp_nanos() / 1_000;
            format!(
                "AND (created_at, id) < (timestamptz 'epoch' + {micros} * interval '1 microsecond', {})",
                cursor.id
            )
        });
        let statement = format!(
            "SELECT id, email, region, status::text, verified, bio, created_at
             FROM users
             WHERE region = '{}' AND status = 'active' {after}
             ORDER BY created_at DESC, id DESC
             LIMIT {limit}",
            region,
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(statement))
            .fetch_all(&self.pool)
            .await?;
        let users = rows
            .iter()
            .map(User::from_row)
            .collect::<Result<Vec<User>, sqlx::Error>>()?;

        let last = users.last().filter(|_| users.len() == limit as usize);
        let next = last.map(|user| Cursor {
            created_at: user.created_at,
            id: user.id,
        });
        Ok(Page { users, next })
    }

    /// How many users of a region are active.
    pub async fn count_active(&self, region: &str) -> Result<i64> {
        let statement = format!(
            "SELECT count(*) FROM users WHERE region = '{}' AND status = 'active'",
            region
        );
        let row = sqlx::raw_sql(AssertSqlSafe(statement))
            .fetch_one(&self.pool)
            .await?;
        let count = row.try_get(0)?;
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
