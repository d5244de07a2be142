use std::time::Duration;

use async_trait::async_trait;
use chrono::NaiveDate;
use sqlx::PgPool;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{Days, Mine, Taken, soon};
use crate::error::LockError;
use crate::ext;

pub(super) struct InRow {
    url: String,
    ttl: f64,
    pool: OnceCell<PgPool>,
}

#[derive(sqlx::FromRow)]
struct Known {
    status: String,
    owner: Option<String>,
    takings: i64,
    alive: bool,
}

impl InRow {
    pub(super) fn new(url: &str, ttl: Duration) -> InRow {
        InRow {
            url: url.to_owned(),
            ttl: ttl.as_secs_f64(),
            pool: OnceCell::new(),
        }
    }

    async fn pool(&self) -> Result<&PgPool, LockError> {
        self.pool.get_or_try_init(async || ext::postgres(&self.url)).await
    }
}

const KNOWN: &str = "SELECT status, owner, takings,
    status = 'running' AND COALESCE(heard_until > clock_timestamp(), false) AS alive
    FROM report_days WHERE day = $1";

const FIRST: &str = "INSERT INTO report_days (day, status, replica, owner, started_at, heard_until, takings)
    VALUES ($1, 'running', split_part($2, '#', 1), $2, now(), clock_timestamp() + make_interval(secs => $3), 1)
    ON CONFLICT (day) DO NOTHING";

/// Nobody has taken it since it was looked at, and its owner has not been heard of, either.
const NEXT: &str = "UPDATE report_days
    SET status = 'running', replica = split_part($2, '#', 1), owner = $2, takings = takings + 1,
        started_at = now(), heard_until = clock_timestamp() + make_interval(secs => $3)
    WHERE day = $1 AND takings = $4 AND status <> 'done'
      AND (status = 'pending' OR heard_until IS NULL OR heard_until <= clock_timestamp())";

const BEAT: &str = "UPDATE report_days AS known
    SET heard_until = clock_timestamp() + make_interval(secs => $3)
    FROM unnest($1::date[], $2::text[]) AS mine (day, owner)
    WHERE known.day = mine.day AND known.owner = mine.owner AND known.status = 'running'
      AND known.heard_until > clock_timestamp()
    RETURNING known.owner";

#[async_trait]
impl Days for InRow {
    async fn take(&self, day: NaiveDate, owner: &str) -> Result<Taken, LockError> {
        let mut db = soon(self.pool().await?.acquire()).await?;
        for _ in 0..2 {
            let known = sqlx::query_as::<_, Known>(KNOWN).bind(day);
            let known = soon(known.fetch_optional(&mut *db)).await?;
            let asked = Instant::now();
            let (count, take) = match known {
                Some(known) if known.status == "done" => return Ok(Taken::Done),
                Some(known) if known.alive => return Ok(Taken::Other(known.owner.unwrap_or_default())),
                Some(known) => {
                    let next = sqlx::query(NEXT).bind(day).bind(owner).bind(self.ttl);
                    (known.takings + 1, next.bind(known.takings))
                }
                None => (1, sqlx::query(FIRST).bind(day).bind(owner).bind(self.ttl)),
            };
            if soon(take.execute(&mut *db)).await?.rows_affected() == 1 {
                let mine = Mine {
                    day,
                    owner: owner.into(),
                    count,
                    lease: 0,
                };
                return Ok(Taken::Mine { mine, asked });
            }
            // Somebody was faster: who?
        }
        Ok(Taken::Other(String::new()))
    }

    async fn beat(&self, days: &[Mine]) -> Vec<Option<bool>> {
        let dates: Vec<NaiveDate> = days.iter().map(|mine| mine.day).collect();
        let owners: Vec<String> = days.iter().map(|mine| mine.owner.to_string()).collect();
        let beat = async {
            let beat = sqlx::query_scalar::<_, String>(BEAT).bind(dates).bind(owners);
            soon(beat.bind(self.ttl).fetch_all(self.pool().await?)).await
        };
        match beat.await {
            Ok(owners) => {
                let heard = |mine: &Mine| Some(owners.iter().any(|owner| **owner == *mine.owner));
                days.iter().map(heard).collect()
            }
            Err(_) => vec![None; days.len()],
        }
    }

    async fn done(&self, mine: &Mine) -> Result<bool, LockError> {
        let done = "UPDATE report_days SET status = 'done', finished_at = now()
            WHERE day = $1 AND owner = $2 AND status IN ('running', 'done')";
        let done = sqlx::query(done).bind(mine.day).bind(&*mine.owner);
        Ok(soon(done.execute(self.pool().await?)).await?.rows_affected() == 1)
    }

    async fn free(&self, mine: &Mine) -> Result<bool, LockError> {
        let free = "UPDATE report_days SET status = 'pending', heard_until = NULL
            WHERE day = $1 AND owner = $2 AND status IN ('running', 'pending')";
        let free = sqlx::query(free).bind(mine.day).bind(&*mine.owner);
        Ok(soon(free.execute(self.pool().await?)).await?.rows_affected() == 1)
    }
}
