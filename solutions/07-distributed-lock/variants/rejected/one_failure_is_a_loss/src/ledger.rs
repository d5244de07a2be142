//! What has become of the days: in PostgreSQL, whatever knows who has them.

use chrono::NaiveDate;
use sqlx::PgPool;
use tokio::sync::OnceCell;

use crate::error::LockError;
use crate::ext;
use crate::lock::within;

/// Only ever upwards: who took the day before the one that is entered, and was held up, comes too late.
const ENTER: &str = "
    INSERT INTO report_days AS known (day, status, replica, started_at, fence)
    VALUES ($1, 'running', $2, now(), $3)
    ON CONFLICT (day) DO UPDATE
    SET status = 'running', replica = excluded.replica, started_at = excluded.started_at, fence = excluded.fence
    WHERE known.status <> 'done' AND known.fence < excluded.fence";

const DONE: &str = "
    UPDATE report_days SET status = 'done', finished_at = now()
    WHERE day = $1 AND fence = $2 AND status IN ('running', 'done')";

/// Shared by all locks that need the database, too.
pub(crate) struct Ledger {
    url: String,
    db: OnceCell<PgPool>,
}

pub(crate) enum Entry {
    Entered,
    Done,
    /// Somebody else was entered with a higher number.
    Late,
}

impl Ledger {
    pub(crate) fn new(url: String) -> Ledger {
        Ledger {
            url,
            db: OnceCell::new(),
        }
    }

    pub(crate) async fn db(&self) -> Result<&PgPool, LockError> {
        self.db.get_or_try_init(async || ext::postgres(&self.url)).await
    }

    pub(crate) async fn is_done(&self, day: NaiveDate) -> Result<bool, LockError> {
        let status = sqlx::query_scalar::<_, String>("SELECT status FROM report_days WHERE day = $1").bind(day);
        let status = within(status.fetch_optional(self.db().await?)).await?;
        Ok(status.is_some_and(|status| status == "done"))
    }

    pub(crate) async fn enter(&self, day: NaiveDate, replica: &str, fence: i64) -> Result<Entry, LockError> {
        let enter = sqlx::query(ENTER).bind(day).bind(replica).bind(fence);
        if within(enter.execute(self.db().await?)).await?.rows_affected() == 1 {
            return Ok(Entry::Entered);
        }
        Ok(if self.is_done(day).await? { Entry::Done } else { Entry::Late })
    }

    /// Whether the day is on record as done, under this number.
    pub(crate) async fn done(&self, day: NaiveDate, fence: i64) -> Result<bool, LockError> {
        let done = sqlx::query(DONE).bind(day).bind(fence);
        Ok(within(done.execute(self.db().await?)).await?.rows_affected() == 1)
    }
}
