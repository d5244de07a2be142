use sqlx::PgPool;

use crate::{Cursor, Error, Page, Result, Status, User};

/// The user directory. Cheap to clone: clones share the pool.
#[derive(Clone, Debug)]
pub struct Directory {
    pool: PgPool,
}

/// The statement for a page of at most `$most` users. What a page can be at most is written down, because a plan for
/// all values of `$2` would reckon with a tenth of the region, and might rather read and sort all of it.
macro_rules! page {
    ($most:literal) => {
        page!($most, "")
    };
    ($most:literal, $after:literal) => {
        concat!(
            "SELECT id, email, region, status::text, verified, bio, created_at
             FROM (
                 SELECT * FROM users
                 WHERE region = $1 AND status = 'active' ",
            $after,
            "    ORDER BY created_at DESC, id DESC
                 LIMIT ",
            $most,
            ") AS newest
             ORDER BY created_at DESC, id DESC
             LIMIT $2"
        )
    };
}

fn first_page(limit: u32) -> &'static str {
    match limit {
        0..=64 => page!(64),
        65..=640 => page!(640),
        _ => page!(5000),
    }
}

fn later_page(limit: u32) -> &'static str {
    match limit {
        0..=64 => page!(64, "AND (created_at, id) < ($3, $4)"),
        65..=640 => page!(640, "AND (created_at, id) < ($3, $4)"),
        _ => page!(5000, "AND (created_at, id) < ($3, $4)"),
    }
}

impl Directory {
    pub fn new(pool: PgPool) -> Self {
        Directory { pool }
    }

    /// The active users of a region, newest first, users of one moment by descending id. Pass [`Page::next`] as `after`
    /// to go on where a page ended.
    pub async fn list_active(&self, region: &str, after: Option<Cursor>, limit: u32) -> Result<Page> {
        let statement = match &after {
            None => sqlx::query_as(first_page(limit)),
            Some(_) => sqlx::query_as(later_page(limit)),
        };
        let mut statement = statement.bind(region).bind(i64::from(limit));
        if let Some(Cursor { created_at, id }) = after {
            statement = statement.bind(created_at).bind(id);
        }
        let users: Vec<User> = statement.fetch_all(&self.pool).await?;
        let next = match users.last() {
            Some(last) if users.len() == limit as usize => Some(Cursor::behind(last)),
            _ => None,
        };
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
        // Compared with a subquery's outcome, a hash is planned for as any other is, even that of an address that
        // thousands share.
        let user = sqlx::query_as(
            r#"SELECT id, email, region, status::text, verified, bio, created_at
               FROM users
               WHERE hashtextextended(lower(email COLLATE "C"), 0)
                     = (SELECT hashtextextended(lower($1 COLLATE "C"), 0))
                 AND lower(email COLLATE "C") = lower($1 COLLATE "C")
               LIMIT 1"#,
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
        // A bio that stays what it is would be written to every index all the same.
        let done = sqlx::query("UPDATE users SET bio = $2 WHERE id = $1 AND bio IS DISTINCT FROM $2")
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
