//! The copy in Redis. Whatever goes wrong with it is no reason to refuse a price: then there is no copy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, cmd};
use tokio::sync::Mutex;
use url::Url;

/// How long an instance may keep the others waiting for its load, dead or alive.
const LEASE: Duration = Duration::from_secs(2);

/// How often an instance looks whether another one's load has ended: once for all who wait in it.
pub(crate) const POLL: Duration = Duration::from_millis(25);

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(8);

pub(crate) struct Shared {
    client: Client,
    /// Held to make the connection, never while a command runs: a multiplexed connection is cloned for that.
    connection: Mutex<Option<MultiplexedConnection>>,
    instance: String,
    claims: AtomicU64,
}

/// A price as it lies in Redis.
pub(crate) struct Copy {
    pub value: Bytes,
    /// How long it stays fresh.
    pub remaining: Duration,
    pub delta: Duration,
}

/// Whose turn it is to load.
pub(crate) enum Claim {
    Mine(String),
    Theirs,
    /// Redis does not say.
    Unknown,
}

impl Shared {
    pub(crate) fn open(url: &Url) -> Option<Shared> {
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
        Some(Shared {
            client: Client::open(url.clone()).ok()?,
            connection: Mutex::default(),
            instance: format!("{random:016x}"),
            claims: AtomicU64::new(0),
        })
    }

    pub(crate) async fn get(&self, k: &str) -> Option<Copy> {
        let mut both = Pipeline::new();
        both.get(price(k)).pttl(price(k));
        let (value, remaining): (Option<Vec<u8>>, i64) = self.query(both).await.ok()?;
        let value = Bytes::from(value?);
        let (delta, value) = (value.first_chunk::<8>()?, value.slice(8..));
        Some(Copy {
            value,
            remaining: Duration::from_millis(u64::try_from(remaining).ok()?),
            delta: Duration::from_millis(u64::from_be_bytes(*delta)),
        })
    }

    /// Takes the turn to load, for the length of a lease.
    pub(crate) async fn claim(&self, k: &str) -> Claim {
        let n = self.claims.fetch_add(1, Ordering::Relaxed);
        let token = format!("{}:{n}", self.instance);
        let mut set = cmd("SET");
        set.arg(turn(k))
            .arg(&token)
            .arg("NX")
            .arg("PX")
            .arg(millis(LEASE));
        match self.run::<Option<String>>(set).await {
            Ok(Some(_)) => Claim::Mine(token),
            Ok(None) => Claim::Theirs,
            Err(_) => Claim::Unknown,
        }
    }

    /// Publishes what was loaded, and gives the turn back if it is still this one's.
    pub(crate) async fn finish(&self, k: &str, copy: Option<Copy>, token: &str) {
        const SCRIPT: &str = "if ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
            if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end";
        let (record, ttl) = match &copy {
            Some(copy) => (record(copy), millis(copy.remaining)),
            None => (Vec::new(), 0),
        };
        let mut eval = cmd("EVAL");
        eval.arg(SCRIPT).arg(2).arg(price(k)).arg(turn(k));
        eval.arg(token).arg(record).arg(ttl.max(1));
        self.run::<()>(eval).await.ok();
    }

    pub(crate) async fn forget(&self, k: &str) {
        let mut del = cmd("DEL");
        del.arg(price(k));
        self.run::<()>(del).await.ok();
    }

    async fn run<T: FromRedisValue>(&self, command: Cmd) -> RedisResult<T> {
        let mut connection = self.connect().await?;
        let ran = command.query_async(&mut connection).await;
        self.judge(ran.as_ref().err()).await;
        ran
    }

    async fn query<T: FromRedisValue>(&self, pipeline: Pipeline) -> RedisResult<T> {
        let mut connection = self.connect().await?;
        let ran = pipeline.query_async(&mut connection).await;
        self.judge(ran.as_ref().err()).await;
        ran
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let mut connection = self.connection.lock().await;
        if let Some(open) = &*connection {
            return Ok(open.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let opened = self.client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(PATIENCE, opened).await {
            Ok(Ok(open)) => Ok(connection.insert(open).clone()),
            Ok(Err(err)) => Err(err),
            Err(_) => Err(RedisError::from((redis::ErrorKind::Io, "Redis does not answer"))),
        }
    }

    /// A connection that failed is not used again.
    async fn judge(&self, error: Option<&RedisError>) {
        if error.is_some() {
            *self.connection.lock().await = None;
        }
    }
}

fn price(k: &str) -> String {
    format!("price:{k}")
}

fn turn(k: &str) -> String {
    format!("price-turn:{k}")
}

fn record(copy: &Copy) -> Vec<u8> {
    let mut record = (copy.delta.as_millis() as u64).to_be_bytes().to_vec();
    record.extend_from_slice(&copy.value);
    record
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
