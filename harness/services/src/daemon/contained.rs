//! A server in a container: started, watched until it answers, removed.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU32, Ordering};

use testcontainers::bollard::models::PortBinding;
use testcontainers::core::{IntoContainerPort, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

use super::*;
use crate::container::Plan;
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
    /// Never dropped: it would remove the container on the caller's runtime, and one that is left running as well.
    container: Option<ManuallyDrop<ContainerAsync<GenericImage>>>,
}

impl Daemon {
    /// Starts a container of `kind`'s image. Its port is published on this machine's loopback interface alone.
    pub(crate) async fn start(&self, kind: Kind, options: &Options, plan: &Plan) -> Result<Contained, Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let image = image(kind);
        let died = |status: String| Error::Died {
            kind,
            program: image.clone(),
            status,
            log: String::new(),
            next: format!("type `docker pull {image}` to have the image anew"),
        };
        if !self.shared {
            return Err(died("containers are only started at the usual daemon".to_owned()));
        }
        let server = format!("{}.{}", Owner::this(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut record = Record::open(kind, options, &Runner::Same)?;

        let (name, tag) = name_and_tag(&image);
        let mut base = GenericImage::new(name, tag).with_exposed_port(plan.port.tcp());
        if let Some(entry_point) = &plan.entry_point {
            base = base.with_entrypoint(entry_point);
        }
        let port = plan.port;
        let mut request = base
            .with_labels(labels(options))
            .with_label(LABEL_SERVER, &server)
            .with_cmd(&plan.command)
            .with_startup_timeout(READY_WITHIN)
            .with_host_config_modifier(move |host| {
                let loopback = PortBinding {
                    host_ip: Some("127.0.0.1".to_owned()),
                    host_port: Some(String::new()),
                };
                host.publish_all_ports = Some(false);
                host.port_bindings = Some([(format!("{port}/tcp"), Some(vec![loopback]))].into());
            });
        for (name, value) in &plan.environment {
            request = request.with_env_var(name, value);
        }
        for (path, text) in &plan.files {
            request = request.with_copy_to(path, text.clone().into_bytes());
        }
        for (volume, path) in &plan.volumes {
            request = request.with_mount(Mount::volume_mount(volume, path));
        }
        let published = match request.start().await {
            Ok(container) => {
                let port = container.get_host_port_ipv4(port.tcp()).await;
                port.map(|port| (ManuallyDrop::new(container), port))
            }
            Err(error) => Err(error),
        };
        let (container, port) = match published {
            Ok(published) => published,
            Err(error) => {
                self.remove_half_made(&server).await;
                record.close();
                return Err(died(error.to_string()));
            }
        };
        record.container = Some(container.id().to_owned());
        let (daemon, container) = (self.clone(), Some(container));
        // Built before the record is written, so that a full disk does not leave the container.
        let contained = Contained {
            kind,
            daemon,
            image,
            port,
            record,
            container,
        };
        contained.record.write()?;
        Ok(contained)
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
        self.container = None;
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
        if self.container.take().is_none() {
            return;
        }
        let (daemon, id) = (self.daemon.clone(), self.id().to_owned());
        background::wait(async move { daemon.remove_container(&id).await });
        self.record.close();
    }
}
