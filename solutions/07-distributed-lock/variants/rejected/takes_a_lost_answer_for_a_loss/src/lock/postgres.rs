//! A row for each day, with a lease in it. The time is the database's.

use async_trait::async_trait;
use chrono::NaiveDate;
use sqlx::PgPool;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{DayLock, Grip, Take, answer};
use crate::error::LockError;
use crate::ext;
use crate::reporter::LockCfg;

const TAKE: &str = "
    INSERT INTO report_days AS d (day, status, replica, token, started_at, lease_until)
    VALUES ($1, 'running', $2, $3, clock_timestamp(), clock_timestamp() + $4 * interval '1 second')
    ON CONFLICT (day) DO UPDATE
    SET status = 'running', replica = excluded.replica, token = excluded.token, fence = d.fence + 1,
        started_at = clock_timestamp(), lease_until = clock_timestamp() + $4 * interval '1 second'
    WHERE d.status = 'pending'
       OR d.status = 'running' AND (d.lease_until IS NULL OR d.lease_until <= clock_timestamp())
    RETURNING d.fence";

const WHO: &str = "
    SELECT status, token, COALESCE(lease_until > clock_timestamp(), false)
    FROM report_days WHERE day = $1";

const RENEW: &str = "
    UPDATE report_days SET lease_until = clock_timestamp() + $3 * interval '1 second'
    WHERE day = $1 AND token = $2 AND status = 'running' AND lease_until > clock_timestamp()";

const DONE: &str = "
    UPDATE report_days SET status = 'done', finished_at = clock_timestamp()
    WHERE day = $1 AND token = $2 AND status = 'running'";

const RELEASE: &str = "
    UPDATE report_days SET status = 'pending', lease_until = NULL
    WHERE day = $1 AND token = $2 AND status IN ('running', 'pending')";

pub struct PgDays {
    replica: String,
    url: String,
    ttl: f64,
    db: OnceCell<PgPool>,
}

impl PgDays {
    pub fn new(replica: String, url: String, cfg: &LockCfg) -> PgDays {
        PgDays {
            replica,
            url,
            ttl: cfg.ttl.as_secs_f64(),
            db: OnceCell::new(),
        }
    }

    async fn db(&self) -> Result<&PgPool, LockError> {
        self.db.get_or_try_init(async || ext::postgres(&self.url)).await
    }
}

#[async_trait]
impl DayLock for PgDays {
    async fn take(&self, day: NaiveDate, token: &str) -> Result<Take, LockError> {
        let db = self.db().await?;
        // The second time round: it was let go in between.
        for _ in 0..2 {
            let mut connection = answer(db.acquire()).await?;
            let asked = Instant::now();
            let take = sqlx::query_scalar::<_, i64>(TAKE)
                .bind(day)
                .bind(&self.replica)
                .bind(token)
                .bind(self.ttl);
            if let Some(fence) = answer(take.fetch_optional(&mut *connection)).await? {
                return Ok(Take::Taken(Grip {
                    day,
                    token: token.to_owned(),
                    fence: u64::try_from(fence).map_err(LockError::backend)?,
                    lease: 0,
                    asked,
                }));
            }
            let who = sqlx::query_as::<_, (String, Option<String>, bool)>(WHO).bind(day);
            let (status, holder, alive) = answer(who.fetch_one(&mut *connection)).await?;
            if status == "done" {
                return Ok(Take::Done);
            }
            if let (true, Some(holder)) = (alive, holder) {
                return Ok(Take::Held(holder));
            }
        }
        Ok(Take::Held(String::new()))
    }

    async fn renew(&self, grip: &Grip) -> Result<bool, LockError> {
        let renew = sqlx::query(RENEW).bind(grip.day).bind(&grip.token).bind(self.ttl);
        Ok(answer(renew.execute(self.db().await?)).await?.rows_affected() == 1)
    }

    async fn done(&self, grip: &Grip) -> Result<bool, LockError> {
        let done = sqlx::query(DONE).bind(grip.day).bind(&grip.token);
        Ok(answer(done.execute(self.db().await?)).await?.rows_affected() == 1)
    }

    async fn release(&self, grip: &Grip) -> Result<bool, LockError> {
        let release = sqlx::query(RELEASE).bind(grip.day).bind(&grip.token);
        Ok(answer(release.execute(self.db().await?)).await?.rows_affected() == 1)
    }
}
