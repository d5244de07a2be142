//! Functions of the database; see its migrations.

use std::time::Duration;

use chrono::NaiveDate;
use sqlx::PgPool;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{Seat, Take, in_time};
use crate::error::LockError;
use crate::ext;

pub struct Postgres {
    url: String,
    ttl_ms: i64,
    db: OnceCell<PgPool>,
}

type Taken = (Option<i64>, Option<String>, Option<String>, bool);

impl Postgres {
    pub(super) fn new(url: &str, ttl: Duration) -> Postgres {
        Postgres {
            url: url.to_owned(),
            ttl_ms: i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX),
            db: OnceCell::new(),
        }
    }

    async fn db(&self) -> Result<&PgPool, LockError> {
        self.db.get_or_try_init(async || ext::postgres(&self.url)).await
    }

    pub(super) async fn take(&self, day: NaiveDate, run: &str) -> Result<Take, LockError> {
        let replica = run.rsplitn(3, '/').last().unwrap_or_default();
        let mut db = in_time(self.db().await?.acquire()).await?;
        let asked = Instant::now();
        let take = "SELECT taken, holder, holder_run, done FROM report_take($1, $2, $3, $4)";
        let take = sqlx::query_as::<_, Taken>(take).bind(day).bind(replica);
        let take = take.bind(run).bind(self.ttl_ms).fetch_one(&mut *db);
        Ok(match in_time(take).await? {
            (_, _, _, true) => Take::Done,
            (Some(fence), ..) => Take::Taken(Seat {
                day,
                run: run.to_owned(),
                fence: u64::try_from(fence).map_err(LockError::backend)?,
                lease: 0,
                asked,
            }),
            (None, _, run, false) => Take::Held(run.unwrap_or_default()),
        })
    }

    pub(super) async fn renew(&self, seat: &Seat) -> Result<bool, LockError> {
        let renew = "UPDATE report_takings SET until = clock_timestamp() + $3 * interval '1 millisecond'
            WHERE fence = $1 AND run = $2 AND NOT ended AND until > clock_timestamp()";
        let renew = sqlx::query(renew).bind(fence(seat)).bind(&seat.run).bind(self.ttl_ms);
        let renewed = in_time(renew.execute(self.db().await?)).await?;
        Ok(renewed.rows_affected() == 1)
    }

    pub(super) async fn finish(&self, seat: &Seat) -> Result<bool, LockError> {
        self.end("SELECT report_finish($1, $2)", seat).await
    }

    pub(super) async fn leave(&self, seat: &Seat) -> Result<bool, LockError> {
        self.end("SELECT report_leave($1, $2)", seat).await
    }

    async fn end(&self, how: &'static str, seat: &Seat) -> Result<bool, LockError> {
        let end = sqlx::query_scalar::<_, bool>(how).bind(seat.day).bind(fence(seat));
        in_time(end.fetch_one(self.db().await?)).await
    }
}

fn fence(seat: &Seat) -> i64 {
    i64::try_from(seat.fence).unwrap_or(i64::MAX)
}
