//! The copy in Redis. Whatever goes wrong with it is no reason to refuse a price: then there is no copy.

use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Client, RedisResult};
use tokio::sync::Mutex;
use url::Url;

pub(crate) struct Shared {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Shared {
    pub(crate) fn open(url: &Url) -> Option<Shared> {
        Some(Shared {
            client: Client::open(url.clone()).ok()?,
            connection: Mutex::new(None),
        })
    }

    pub(crate) async fn get(&self, k: &str) -> Option<Bytes> {
        let value: RedisResult<Option<Vec<u8>>> =
            self.with(async |connection| connection.get(name(k)).await).await;
        value.ok().flatten().map(Bytes::from)
    }

    pub(crate) async fn put(&self, k: &str, value: &[u8], ttl: Duration) {
        let ttl = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let put: RedisResult<()> = self
            .with(async |connection| {
                let () = connection.set(name(k), value).await?;
                connection.pexpire(name(k), ttl).await
            })
            .await;
        put.ok();
    }

    /// Runs commands on the connection, which is made when it is first needed and after an error.
    async fn with<T>(
        &self,
        run: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let mut connection = self.connection.lock().await;
        let mut open = match connection.take() {
            Some(open) => open,
            None => self.client.get_multiplexed_async_connection().await?,
        };
        let ran = run(&mut open).await;
        if ran.is_ok() {
            *connection = Some(open);
        }
        ran
    }
}

fn name(k: &str) -> String {
    format!("price:{k}")
}
