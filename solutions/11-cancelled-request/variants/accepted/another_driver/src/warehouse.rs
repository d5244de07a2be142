//! The warehouse, through a driver that can cancel.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::{CancelToken, Client, Config, NoTls};
use tokio_util::task::TaskTracker;

use crate::engine::crunch::Line;
use crate::error::AppError;
use crate::reports::Order;

/// A cancellation that overtakes its statement hits nothing, and is sent again.
const CANCEL_AGAIN: Duration = Duration::from_millis(250);
const CANCELS_MAX: usize = 8;

#[derive(Clone)]
pub struct Warehouse {
    url: Arc<str>,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Client>>>,
    jobs: TaskTracker,
}

impl Warehouse {
    pub fn new(url: &str, places: usize, jobs: TaskTracker) -> Warehouse {
        Warehouse {
            url: url.into(),
            places: Arc::new(Semaphore::new(places)),
            idle: Arc::default(),
            jobs,
        }
    }

    pub async fn lines(&self, order: &Order) -> Result<Vec<Line>, AppError> {
        let failed = |err: tokio_postgres::Error| AppError::Failed(format!("the warehouse: {err}"));
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(|_| AppError::Cancelled)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let client = match idle {
            Some(client) => client,
            None => {
                let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.map_err(failed)?;
                tokio::spawn(connection);
                client
            }
        };
        // Operators see by the comment whose statement is running. The id has been validated.
        let sql = format!(
            "SELECT line, units FROM slow_rows($1, $2) /*report:{}*/",
            order.id
        );
        let mut running = Running {
            client: Some((client, place)),
            warehouse: self.clone(),
        };
        let Some((client, _)) = &running.client else {
            return Ok(Vec::new());
        };
        let rows = client.query(&sql, &[&order.lines, &order.secs]).await;
        running.answered();
        let rows = rows.map_err(failed)?;
        let lines = rows.iter().map(|row| Line {
            line: row.get("line"),
            units: row.get("units"),
        });
        Ok(lines.collect())
    }

    pub fn close(&self) {
        self.places.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns when the server has sent the cancellation on to the process that it is for, which it tells by closing the
    /// connection: the driver itself does not wait for that, and whoever is given the process next would be hit.
    async fn cancel(&self, token: &CancelToken) -> std::io::Result<()> {
        let broken = |_| std::io::ErrorKind::InvalidInput;
        let config: Config = self.url.parse().map_err(broken)?;
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.as_str(),
            _ => "localhost",
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let stream = TcpStream::connect((host, port)).await?.into_std()?;
        let mut closed = TcpStream::from_std(stream.try_clone()?)?;
        let sent = token.cancel_query_raw(TcpStream::from_std(stream)?, NoTls).await;
        sent.map_err(std::io::Error::other)?;
        closed.read(&mut [0]).await.map(drop)
    }

    fn give_back(&self, client: Client) {
        if !client.is_closed() && !self.places.is_closed() {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(client);
        }
    }
}

/// A statement under way. It keeps its connection until the server is done with it.
struct Running {
    client: Option<(Client, OwnedSemaphorePermit)>,
    warehouse: Warehouse,
}

impl Running {
    fn answered(&mut self) {
        if let Some((client, _place)) = self.client.take() {
            self.warehouse.give_back(client);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some((client, place)) = self.client.take() else {
            return;
        };
        let warehouse = self.warehouse.clone();
        self.warehouse.jobs.spawn(async move {
            let _place = place;
            for _ in 0..CANCELS_MAX {
                if warehouse.cancel(&client.cancel_token()).await.is_err() {
                    break;
                }
                // Answered behind whatever the connection was asked before.
                if let Ok(Ok(_)) = timeout(CANCEL_AGAIN, client.simple_query("")).await {
                    warehouse.give_back(client);
                    break;
                }
            }
        });
    }
}
