//! A check's own server: its taps, the capacity that they share, and the grader's way past them.

use std::fmt::Display;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::client::Client;
use super::partition::{Limit, Partitions, Window};
use super::tap::DynamoTap;
use crate::Failure;

/// The partition key of every table that [`Client::create_table`] makes.
const HASH_KEY: &str = "pk";

/// A server that one check has for itself, with a tap in front of it.
#[derive(Debug)]
pub struct DynamoDb {
    host: String,
    port: u16,
    harness: Handle,
    partitions: Partitions,
    tap: Arc<DynamoTap>,
}

impl DynamoDb {
    /// Starts a tap on `harness` in front of an empty server. There is no limit at first.
    ///
    /// # Errors
    /// Environment: the server does not answer.
    pub async fn at(host: &str, port: u16, harness: &Handle) -> Result<DynamoDb, Failure> {
        Client::connect(host, port)
            .await
            .map_err(broken("connect to DynamoDB"))?;
        let partitions = Partitions::default();
        let tap =
            DynamoTap::start(harness, host, port, HASH_KEY, &partitions).map_err(broken("start a tap"))?;
        Ok(DynamoDb {
            host: host.to_owned(),
            port,
            harness: harness.clone(),
            partitions,
            tap: Arc::new(tap),
        })
    }

    /// What the subject is given: the tap's address.
    pub fn url(&self) -> String {
        self.tap.url()
    }

    pub fn tap(&self) -> &Arc<DynamoTap> {
        &self.tap
    }

    /// Another front of the same server, as another instance of a service needs it. The partitions are the same.
    ///
    /// # Errors
    /// Environment: there is no port to be had.
    pub fn another_tap(&self) -> Result<Arc<DynamoTap>, Failure> {
        DynamoTap::start(&self.harness, &self.host, self.port, HASH_KEY, &self.partitions)
            .map(Arc::new)
            .map_err(broken("start a tap"))
    }

    /// A connection of the grader's, past the taps: uncounted, and charged to nobody.
    ///
    /// # Errors
    /// Environment: the server does not answer.
    pub async fn admin(&self) -> Result<Client, Failure> {
        Client::connect(&self.host, self.port)
            .await
            .map_err(broken("connect to DynamoDB"))
    }

    /// What a partition may do from now on in each window; `None` is without limits.
    pub fn limit(&self, limit: Option<Limit>) {
        self.partitions.limit(limit);
    }

    /// What was charged in this window until now.
    pub fn window(&self) -> Window {
        self.partitions.window()
    }

    /// Ends the window and begins the next; returns what was charged. Keys move between the two, so that the load is even.
    pub fn tick(&self) -> Window {
        self.partitions.tick()
    }
}

/// An error of the grader's own doing: the machine's fault, never the submission's.
fn broken<E: Display>(what: &'static str) -> impl Fn(E) -> Failure {
    move |error| Failure::environment(format!("failed to {what}: {error}"))
}
