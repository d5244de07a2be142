//! A server per test, and a driver's connection through a tap.

use harness::redis::{Redis, RedisTap};
use redis::aio::MultiplexedConnection;
use services::{Endpoint, Kind, Mode, Options, Server};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::Handle;

/// Liveness only.
pub const SOON: Duration = Duration::from_secs(10);

pub struct Bed {
    pub redis: Redis,
    server: Server,
}

pub async fn bed() -> Bed {
    let options = Options {
        mode: Mode::Local,
        ..Options::default()
    };
    let server = services::start(Kind::Redis, &options, &[]).await.unwrap();
    let Endpoint::Redis { host, port } = server.endpoint.clone() else {
        panic!("not a Redis")
    };
    let redis = Redis::at(&host, port, &harness_thread()).await.unwrap();
    Bed { redis, server }
}

/// The runtime of what belongs to the grader, on a thread of its own as in a check.
fn harness_thread() -> Handle {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    HANDLE.get_or_init(harness::harness_runtime).clone()
}

impl Bed {
    pub fn tap(&self) -> &RedisTap {
        self.redis.tap()
    }

    pub async fn connection(&self) -> MultiplexedConnection {
        connect(&self.redis.url()).await.unwrap()
    }

    /// What the key holds, asked past the tap.
    pub async fn truth(&self, key: &str) -> Option<String> {
        let value = self
            .redis
            .admin()
            .await
            .unwrap()
            .command(&["GET", key])
            .await
            .unwrap();
        value
            .text()
            .map(|text| String::from_utf8_lossy(text).into_owned())
    }

    /// Nobody went past the tap, and the server goes away.
    pub async fn finish(self) {
        if let Err(failure) = self.redis.finish().await {
            panic!("{failure:?}");
        }
        self.server.stop().await;
    }
}

/// With a driver that is more patient than the tests are.
pub async fn connect(url: &str) -> redis::RedisResult<MultiplexedConnection> {
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(SOON))
        .set_response_timeout(Some(SOON));
    redis::Client::open(url)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}
