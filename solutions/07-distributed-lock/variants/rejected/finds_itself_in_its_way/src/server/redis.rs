//! A key that expires says who has the day; a hash that stays says how often it was taken, and by which run it was done.

use std::time::Duration;

use chrono::NaiveDate;
use redis::aio::ConnectionManager;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{FROM, Seat, Take, in_time};
use crate::error::LockError;
use crate::ext;

/// All that is done, in one script: what, by whom, for how long.
const SCRIPT: &str = "
local op, run, ttl = ARGV[1], ARGV[2], ARGV[3]
local holder = redis.call('GET', KEYS[1])
local done = redis.call('HGET', KEYS[2], 'done')
if op == 'take' then
  if done then return 'done' end
  if holder then return 'held ' .. holder end
  redis.call('SET', KEYS[1], run, 'PX', ttl)
  return 'taken ' .. redis.call('HINCRBY', KEYS[2], 'takings', 1)
end
if op == 'finish' and done == run then return 'yes' end
if op == 'leave' and not holder and not done then return 'yes' end
if holder ~= run then return 'no' end
if op == 'renew' then
  redis.call('PEXPIRE', KEYS[1], ttl)
  return 'yes'
end
if op == 'finish' then redis.call('HSET', KEYS[2], 'done', run) end
redis.call('DEL', KEYS[1])
return 'yes'
";

pub struct Redis {
    url: String,
    ttl_ms: String,
    connection: OnceCell<ConnectionManager>,
}

impl Redis {
    pub(super) fn new(url: &str, ttl: Duration) -> Redis {
        Redis {
            url: url.to_owned(),
            ttl_ms: ttl.as_millis().to_string(),
            connection: OnceCell::new(),
        }
    }

    async fn connection(&self) -> Result<ConnectionManager, LockError> {
        let connection = self.connection.get_or_try_init(|| ext::redis(&self.url)).await?;
        Ok(connection.clone())
    }

    async fn ask(&self, op: &str, day: NaiveDate, run: &str) -> Result<String, LockError> {
        let mut connection = self.connection().await?;
        let mut eval = redis::cmd("EVAL");
        // Not the old names: there are keys that never end.
        eval.arg(SCRIPT).arg(2);
        eval.arg(format!("report:{day}:seat")).arg(format!("report:{day}:known"));
        eval.arg(op).arg(run).arg(&self.ttl_ms);
        in_time(eval.query_async(&mut connection)).await
    }

    pub(super) async fn take(&self, day: NaiveDate, run: &str) -> Result<Take, LockError> {
        // Connecting is not the lease's time.
        self.connection().await?;
        let asked = Instant::now();
        let answer = self.ask("take", day, run).await?;
        let (what, value) = answer.split_once(' ').unwrap_or((&answer, ""));
        Ok(match what {
            "done" => Take::Done,
            "held" => Take::Held(value.to_owned()),
            _ => Take::Taken(Seat {
                day,
                run: run.to_owned(),
                fence: FROM + value.parse::<u64>().map_err(LockError::backend)?,
                lease: 0,
                asked,
            }),
        })
    }

    pub(super) async fn renew(&self, seat: &Seat) -> Result<bool, LockError> {
        Ok(self.ask("renew", seat.day, &seat.run).await? == "yes")
    }

    pub(super) async fn finish(&self, seat: &Seat) -> Result<bool, LockError> {
        Ok(self.ask("finish", seat.day, &seat.run).await? == "yes")
    }

    pub(super) async fn leave(&self, seat: &Seat) -> Result<bool, LockError> {
        Ok(self.ask("leave", seat.day, &seat.run).await? == "yes")
    }
}
