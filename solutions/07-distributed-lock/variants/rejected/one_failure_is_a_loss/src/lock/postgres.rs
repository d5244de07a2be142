use std::sync::Arc;

use async_trait::async_trait;
use chrono::NaiveDate;
use tokio::time::Instant;

use super::{Attempt, BASE, Key, Locks, Who, within};
use crate::error::LockError;
use crate::ledger::Ledger;
use crate::reporter::LockCfg;

/// The time is the server's, and that of the moment: a statement may have waited for the row.
const LOCK: &str = "
    INSERT INTO report_leases AS lease (day, replica, run, until)
    VALUES ($1, $2, $3, clock_timestamp() + $4 * interval '1 ms')
    ON CONFLICT (day) DO UPDATE
    SET replica = $2, run = $3, taking = lease.taking + 1, until = clock_timestamp() + $4 * interval '1 ms'
    WHERE lease.until IS NULL OR lease.until <= clock_timestamp()
    RETURNING taking";

const RENEW: &str = "
    UPDATE report_leases SET until = clock_timestamp() + $3 * interval '1 ms'
    WHERE day = $1 AND run = $2 AND until > clock_timestamp()";

pub(crate) struct PgLocks {
    ledger: Arc<Ledger>,
    ttl: f64,
}

struct PgKey {
    ledger: Arc<Ledger>,
    ttl: f64,
    day: NaiveDate,
    run: String,
}

impl PgLocks {
    pub(crate) fn new(ledger: Arc<Ledger>, cfg: &LockCfg) -> PgLocks {
        PgLocks {
            ledger,
            ttl: cfg.ttl.as_secs_f64() * 1000.0,
        }
    }
}

#[async_trait]
impl Locks for PgLocks {
    async fn lock(&self, day: NaiveDate, who: &Who) -> Result<Attempt, LockError> {
        let mut db = within(self.ledger.db().await?.acquire()).await?;
        let asked = Instant::now();
        let lock = sqlx::query_scalar::<_, i64>(LOCK).bind(day).bind(&who.replica);
        let lock = lock.bind(&who.run).bind(self.ttl).fetch_optional(&mut *db);
        if let Some(taking) = within(lock).await? {
            let key = PgKey {
                ledger: self.ledger.clone(),
                ttl: self.ttl,
                day,
                run: who.run.clone(),
            };
            return Ok(Attempt::Locked {
                key: Box::new(key),
                fence: BASE + taking,
                asked,
            });
        }
        let holder = "SELECT replica, run FROM report_leases WHERE day = $1 AND until > clock_timestamp()";
        let holder = sqlx::query_as::<_, (String, String)>(holder).bind(day);
        let holder = within(holder.fetch_optional(&mut *db)).await?;
        let holder = holder.map_or_else(Who::unknown, |(replica, run)| Who { replica, run });
        Ok(Attempt::Held(holder))
    }
}

#[async_trait]
impl Key for PgKey {
    async fn renew(&self) -> Result<bool, LockError> {
        let renew = sqlx::query(RENEW).bind(self.day).bind(&self.run).bind(self.ttl);
        Ok(within(renew.execute(self.ledger.db().await?)).await?.rows_affected() == 1)
    }

    async fn unlock(&self) -> Result<bool, LockError> {
        // The run stays, for a repetition to find.
        let unlock = "UPDATE report_leases SET until = NULL WHERE day = $1 AND run = $2";
        let unlock = sqlx::query(unlock).bind(self.day).bind(&self.run);
        Ok(within(unlock.execute(self.ledger.db().await?)).await?.rows_affected() == 1)
    }
}
