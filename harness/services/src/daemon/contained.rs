//! A server in a container: started, watched until it answers, removed.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::container::{Order, Plan};
use crate::endpoint::Endpoint;
use crate::record::Record;
use crate::user::Runner;
use crate::{Error, background};

/// How long a container's server may take to its first answer.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A running container and its record. Dropping it removes the container with its volumes, and waits for that.
#[derive(Debug)]
pub(crate) struct Contained {
    kind: Kind,
    daemon: Daemon,
    image: String,
    port: u16,
    record: Record,
    /// Left running: dropping this does nothing.
    left: bool,
}

impl Daemon {
    /// Starts a container of `kind`'s image. Its port is published on this machine's loopback interface alone.
    pub(crate) async fn start(&self, kind: Kind, options: &Options, plan: &Plan) -> Result<Contained, Error> {
        let image = image(kind);
        let died = |status: String| Error::Died {
            kind,
            program: image.clone(),
            status,
            log: String::new(),
            next: format!("type `docker pull {image}` to have the image anew"),
        };
        let mut record = Record::open(kind, options, &Runner::Same)?;
        let order = order(&image, options, plan);
        let id = starter::start(&self.place, &order, options).await;
        let id = match id {
            Ok(id) => id,
            Err(reason) => {
                self.remove_half_made(&order).await;
                record.close();
                return Err(died(reason));
            }
        };
        record.container = Some(id.clone());
        // From here on dropping it removes the container: a full disk does not leave it either.
        let mut contained = Contained {
            kind,
            daemon: self.clone(),
            image: image.clone(),
            port: 0,
            record,
            left: false,
        };
        contained.record.write()?;
        if plan.host_network {
            contained.port = plan.port;
            return Ok(contained);
        }
        let seen = self.inspect(&id).await.map_err(&died)?;
        let published = text(
            &seen,
            &format!("/NetworkSettings/Ports/{}~1tcp/0/HostPort", plan.port),
        );
        match published.and_then(|port| port.parse().ok()) {
            Some(port) => contained.port = port,
            None => {
                let status = self
                    .ended(&id)
                    .await
                    .unwrap_or_else(|| "its port is not published".to_owned());
                let log = self.log(&id).await;
                return Err(Error::Died {
                    kind,
                    program: image.clone(),
                    status,
                    log,
                    next: "read the log above".to_owned(),
                });
            }
        }
        Ok(contained)
    }
}

fn order(image: &str, options: &Options, plan: &Plan) -> Order {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let server = format!("{}.{}", Owner::this(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut labels = labels(options);
    labels.insert(LABEL_SERVER.to_owned(), server);
    let Plan {
        port,
        host_network,
        command,
        entry_point,
        environment,
        volumes,
    } = plan.clone();
    Order {
        image: image.to_owned(),
        port,
        host_network,
        command,
        entry_point,
        environment,
        volumes,
        labels,
    }
}

impl Contained {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn id(&self) -> &str {
        self.record.container.as_deref().unwrap_or_default()
    }

    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// Asks until the server answers, more and more slowly, and watches the container end meanwhile.
    pub(crate) async fn until_ready(&self, endpoint: &Endpoint) -> Result<String, Error> {
        let (start, mut pause) = (Instant::now(), Duration::from_millis(10));
        loop {
            let last = match endpoint.probe().await {
                Ok(version) => return Ok(version),
                Err(last) => last,
            };
            let (kind, program) = (self.kind, self.image.clone());
            if let Some(status) = self.daemon.ended(self.id()).await {
                let (log, next) = (self.daemon.log(self.id()).await, "read the log above".to_owned());
                return Err(Error::Died {
                    kind,
                    program,
                    status,
                    log,
                    next,
                });
            }
            if start.elapsed() > READY_WITHIN || (start.elapsed() > OUT_OF_REACH && inside_a_container()) {
                let log = self.daemon.log(self.id()).await;
                return Err(Error::Silent {
                    kind,
                    program,
                    waited: start.elapsed(),
                    last,
                    log,
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_millis(150));
        }
    }

    /// Ends the server as PostgreSQL wants it before its data are copied.
    pub(crate) async fn shut_down(&self) -> Result<(), String> {
        self.daemon.shut_down(self.id()).await
    }

    /// Lets go of the container, which goes on.
    pub(crate) fn leave(mut self) -> Result<Record, Error> {
        self.record.detached = true;
        self.record.write()?;
        self.left = true;
        Ok(self.record.clone())
    }
}

/// With the daemon's socket passed into a container that we run in, published ports are the host's, and no waiting
/// helps. A little is needed to tell that from a slow start.
const OUT_OF_REACH: Duration = Duration::from_secs(10);

fn inside_a_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|mark| std::path::Path::new(mark).exists())
}

impl Drop for Contained {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let (daemon, id) = (self.daemon.clone(), self.id().to_owned());
        background::wait(async move { daemon.remove_container(&id).await });
        self.record.close();
    }
}
