use std::time::Duration;

use async_trait::async_trait;
use chrono::NaiveDate;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, IntoConnectionInfo};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{Days, Mine, Taken, soon};
use crate::error::LockError;

/// Who has the day, how often it was taken, and who has done it. KEYS in that order; ARGV: owner, milliseconds.
const ENTER: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('INCR', KEYS[2])";

/// ARGV: milliseconds, then an owner for each key.
const BEAT: &str = "
local heard = {}
for n, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[n + 1] then
    heard[n] = redis.call('PEXPIRE', key, ARGV[1])
  else
    heard[n] = 0
  end
end
return heard";

/// While the count is that of its taking, the day has had no other owner.
const DONE: &str = "
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[3], ARGV[1])
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1";

const FREE: &str = "
local owner = redis.call('GET', KEYS[1])
if owner == ARGV[1] then return redis.call('DEL', KEYS[1]) end
if owner or redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
return 1";

pub(super) struct InKey {
    url: String,
    ttl: u64,
    connection: OnceCell<ConnectionManager>,
}

/// Others than the version before had: some of its keys never end.
fn keys(day: NaiveDate) -> [String; 3] {
    ["owner", "takings", "done"].map(|what| format!("days:{day}:{what}"))
}

impl InKey {
    pub(super) fn new(url: &str, ttl: Duration) -> InKey {
        InKey {
            url: url.to_owned(),
            ttl: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            connection: OnceCell::new(),
        }
    }

    /// As this company connects, but nothing is said before it is asked.
    async fn connect(&self) -> Result<ConnectionManager, LockError> {
        let info = self.url.as_str().into_connection_info().map_err(LockError::backend)?;
        let quiet = info.redis_settings().clone().set_skip_set_lib_name();
        let client = Client::open(info.set_redis_settings(quiet)).map_err(LockError::backend)?;
        let patience = Some(Duration::from_secs(2));
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(patience)
            .set_response_timeout(patience);
        soon(ConnectionManager::new_with_config(client, config)).await
    }

    async fn connection(&self) -> Result<ConnectionManager, LockError> {
        Ok(self.connection.get_or_try_init(|| self.connect()).await?.clone())
    }

    async fn script(&self, script: &str, day: NaiveDate, owner: &str, more: i64) -> Result<i64, LockError> {
        let mut connection = self.connection().await?;
        let mut eval = redis::cmd("EVAL");
        eval.arg(script).arg(3).arg(&keys(day)).arg(owner).arg(more);
        soon(eval.query_async(&mut connection)).await
    }
}

#[async_trait]
impl Days for InKey {
    async fn take(&self, day: NaiveDate, owner: &str) -> Result<Taken, LockError> {
        let mut connection = self.connection().await?;
        let [key, _, done] = keys(day);
        let mut look = redis::cmd("MGET");
        look.arg(&key).arg(&done);
        let known: (Option<String>, Option<String>) = soon(look.query_async(&mut connection)).await?;
        match known {
            (_, Some(_)) => return Ok(Taken::Done),
            (Some(other), None) => return Ok(Taken::Other(other)),
            (None, None) => {}
        }
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(owner).arg("NX").arg("PX").arg(self.ttl);
        let set: Option<String> = soon(set.query_async(&mut connection)).await?;
        if set.is_none() {
            let known: (Option<String>, Option<String>) = soon(look.query_async(&mut connection)).await?;
            return Ok(match known {
                (_, Some(_)) => Taken::Done,
                (other, None) => Taken::Other(other.unwrap_or_default()),
            });
        }
        let asked = Instant::now();
        let ttl = i64::try_from(self.ttl).unwrap_or(i64::MAX);
        Ok(match self.script(ENTER, day, owner, ttl).await? {
            -1 => Taken::Lost,
            0 => Taken::Done,
            count => {
                let mine = Mine {
                    day,
                    owner: owner.into(),
                    count,
                    lease: 0,
                };
                Taken::Mine { mine, asked }
            }
        })
    }

    async fn beat(&self, days: &[Mine]) -> Vec<Option<bool>> {
        let beat = async {
            let mut connection = self.connection().await?;
            let mut eval = redis::cmd("EVAL");
            eval.arg(BEAT).arg(days.len());
            for mine in days {
                eval.arg(&keys(mine.day)[0]);
            }
            eval.arg(self.ttl);
            for mine in days {
                eval.arg(&*mine.owner);
            }
            soon::<Vec<bool>, _>(eval.query_async(&mut connection)).await
        };
        match beat.await {
            Ok(heard) => heard.into_iter().map(Some).collect(),
            Err(_) => vec![None; days.len()],
        }
    }

    async fn done(&self, mine: &Mine) -> Result<bool, LockError> {
        Ok(self.script(DONE, mine.day, &mine.owner, mine.count).await? == 1)
    }

    async fn free(&self, mine: &Mine) -> Result<bool, LockError> {
        Ok(self.script(FREE, mine.day, &mine.owner, mine.count).await? == 1)
    }
}
