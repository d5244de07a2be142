//! A check's own server: its taps, and the grader's way past them.

use super::client::Client;
use super::resp::Value;
use super::tap::RedisTap;
use crate::{Failure, Outcome};
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// A server that one check has for itself, with a tap in front of it.
#[derive(Debug)]
pub struct Redis {
    host: String,
    port: u16,
    harness: Handle,
    tap: Arc<RedisTap>,
    more_taps: Mutex<Vec<Arc<RedisTap>>>,
    /// Connections that the server had seen before, and that the grader made since.
    graders: AtomicU64,
}

impl Redis {
    /// Starts a tap on `harness` in front of an empty server.
    ///
    /// # Errors
    /// Environment: the server does not answer.
    pub async fn at(host: &str, port: u16, harness: &Handle) -> Result<Redis, Failure> {
        let mut client = Client::connect(host, port)
            .await
            .map_err(broken("connect to Redis"))?;
        // This connection is in the count.
        let before = connections_received(&mut client).await?;
        let tap = RedisTap::start(harness, host, port).map_err(broken("start a tap"))?;
        Ok(Redis {
            host: host.to_owned(),
            port,
            harness: harness.clone(),
            tap: Arc::new(tap),
            more_taps: Mutex::default(),
            graders: AtomicU64::new(before),
        })
    }

    /// What the subject is given: the tap's address.
    pub fn url(&self) -> String {
        self.tap.url()
    }

    pub fn tap(&self) -> &Arc<RedisTap> {
        &self.tap
    }

    /// Another front of the same server, as another instance of a service needs it.
    pub fn another_tap(&self) -> Result<Arc<RedisTap>, Failure> {
        let tap = RedisTap::start(&self.harness, &self.host, self.port)
            .map(Arc::new)
            .map_err(broken("start a tap"))?;
        self.more_taps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(tap.clone());
        Ok(tap)
    }

    /// A connection of the grader's, past the taps.
    pub async fn admin(&self) -> Result<Client, Failure> {
        let client = Client::connect(&self.host, self.port)
            .await
            .map_err(broken("connect to Redis"))?;
        self.graders.fetch_add(1, Ordering::Relaxed);
        Ok(client)
    }

    /// To be called when the subject is gone: judges whether anybody was connected past the taps, by the server's own
    /// count of connections.
    ///
    /// # Errors
    /// Fail: more connections than the taps and the grader have made.
    pub async fn finish(&self) -> Outcome {
        let mut client = self.admin().await?;
        let received = connections_received(&mut client).await?;
        let more = self.more_taps.lock().unwrap_or_else(PoisonError::into_inner);
        let tapped: u64 = std::iter::once(&self.tap)
            .chain(more.iter())
            .map(|tap| tap.connections_to_server())
            .sum();
        let known = tapped + self.graders.load(Ordering::Relaxed);
        if received > known {
            return Err(
                Failure::new(format!("{} connections were made past the tap", received - known))
                    .because("The service has to use the address that it is given."),
            );
        }
        Ok(())
    }
}

async fn connections_received(client: &mut Client) -> Result<u64, Failure> {
    let info = client
        .command(&["INFO", "stats"])
        .await
        .map_err(broken("ask Redis for its statistics"))?;
    let info = String::from_utf8_lossy(Value::text(&info).unwrap_or_default()).into_owned();
    info.lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"))
        .and_then(|n| n.trim().parse().ok())
        .ok_or_else(|| Failure::environment("Redis does not tell how many connections it has received"))
}

/// An error of the grader's own doing: the machine's fault, never the submission's.
fn broken<E: Display>(what: &'static str) -> impl Fn(E) -> Failure {
    move |error| Failure::environment(format!("failed to {what}: {error}"))
}
