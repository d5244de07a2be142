//! The reports that were made: of each day the first one, whoever made it.

use chrono::NaiveDate;
use sqlx::PgPool;
use tokio::sync::OnceCell;

use crate::error::LockError;
use crate::ext;

pub struct Bodies {
    url: String,
    db: OnceCell<PgPool>,
}

impl Bodies {
    pub fn new(url: String) -> Bodies {
        Bodies {
            url,
            db: OnceCell::new(),
        }
    }

    async fn db(&self) -> Result<&PgPool, LockError> {
        self.db.get_or_try_init(async || ext::postgres(&self.url)).await
    }

    pub async fn find(&self, day: NaiveDate) -> Result<Option<Vec<u8>>, LockError> {
        let found: Option<(Vec<u8>,)> = sqlx::query_as("SELECT body FROM report_bodies WHERE day = $1")
            .bind(day)
            .fetch_optional(self.db().await?)
            .await
            .map_err(LockError::backend)?;
        Ok(found.map(|(body,)| body))
    }

    /// Keeps a report; what is kept is what is to be sent.
    pub async fn keep(&self, day: NaiveDate, body: &[u8]) -> Result<Vec<u8>, LockError> {
        let (kept,): (Vec<u8>,) = sqlx::query_as(
            "INSERT INTO report_bodies (day, body) VALUES ($1, $2)
             ON CONFLICT (day) DO UPDATE SET body = report_bodies.body RETURNING body",
        )
        .bind(day)
        .bind(body)
        .fetch_one(self.db().await?)
        .await
        .map_err(LockError::backend)?;
        Ok(kept)
    }
}
