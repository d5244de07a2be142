//! Containers: the daemon, its images, and one container as a server.
//!
//! Servers are started through `testcontainers`. What it leaves to others (looking for an image before pulling it,
//! giving a pull up when nothing comes, labels to find what a dead run left) goes to the daemon's own API.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use testcontainers::bollard::query_parameters::{
    CreateImageOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    ListVolumesOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
};
use testcontainers::bollard::{API_DEFAULT_VERSION, Docker, models};
use testcontainers::core::client::docker_client_instance;
use tokio::time::timeout;

use crate::container::{image, name_and_tag};
use crate::kind::Kind;
use crate::options::Options;
use crate::owner::{Life, Owner};

mod contained;
mod pull;

pub(crate) use contained::Contained;

/// Label with the owner; the value is [`Owner`]'s words.
pub(crate) const LABEL: &str = "war-stories";
/// Label with the cache folder: a daemon may serve several users, and each recovers their own.
const LABEL_CACHE: &str = "war-stories.cache";
/// Label that one container alone carries, by which a half-made one is found.
const LABEL_SERVER: &str = "war-stories.server";

/// How long the daemon may take to say hello. It is on this machine.
const HELLO_WITHIN: Duration = Duration::from_secs(1);

/// A daemon that answered.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    docker: Docker,
    version: String,
    /// Found where `testcontainers` looks for it as well.
    shared: bool,
}

impl Daemon {
    /// # Errors
    /// Why there is none, as a fragment.
    pub(crate) async fn connect(options: &Options) -> Result<Daemon, String> {
        let (docker, shared) = match &options.search.daemon {
            Some(host) => (Docker::connect_with_unix(host, 120, API_DEFAULT_VERSION), false),
            None => {
                nearby(std::env::var("DOCKER_HOST").ok().as_deref())?;
                let client = docker_client_instance()
                    .await
                    .map_err(|error| error.to_string())?;
                (Ok(client), true)
            }
        };
        let docker = docker.map_err(|error| format!("no container daemon: {error}"))?;
        let hello = async {
            let version = docker.version().await?;
            Ok::<_, testcontainers::bollard::errors::Error>(version)
        };
        let version = match timeout(HELLO_WITHIN, hello).await {
            Ok(Ok(version)) => version.version.unwrap_or_default(),
            Ok(Err(error)) => return Err(format!("no container daemon answers: {}", first_line(&error))),
            Err(_) => {
                return Err(format!(
                    "the container daemon says nothing for {} s",
                    HELLO_WITHIN.as_secs()
                ));
            }
        };
        Ok(Daemon {
            docker,
            version,
            shared,
        })
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The content's name of an image that is here.
    pub(crate) async fn image_id(&self, image: &str) -> Option<String> {
        self.docker.inspect_image(image).await.ok()?.id
    }

    /// Has the image of `kind` here, pulling it when need be; returns its content's name.
    ///
    /// # Errors
    /// Why it cannot be had, as a fragment.
    pub(crate) async fn ensure(&self, kind: Kind, options: &Options) -> Result<String, String> {
        let image = image(kind);
        if let Some(id) = self.image_id(&image).await {
            return Ok(id);
        }
        pull::pull(self, &image, options).await?;
        self.image_id(&image)
            .await
            .ok_or_else(|| format!("image {image} was pulled and is not there"))
    }

    /// Removes containers and volumes of dead runs of this cache; returns how many.
    pub(crate) async fn sweep(&self, options: &Options) -> usize {
        let mut removed = 0;
        let kept: Vec<String> = crate::record::Record::all(&options.cache_dir)
            .into_iter()
            .filter(|record| record.detached)
            .filter_map(|record| record.container)
            .collect();
        let filter = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&ours(options))
            .build();
        for container in self
            .docker
            .list_containers(Some(filter))
            .await
            .unwrap_or_default()
        {
            let (id, labels) = (
                container.id.unwrap_or_default(),
                container.labels.unwrap_or_default(),
            );
            if !kept.contains(&id) && abandoned(&labels) {
                self.remove_container(&id).await;
                removed += 1;
            }
        }
        let finished = crate::postgres::volume::finished(&options.cache_dir);
        for volume in self.labelled_volumes(options).await {
            if !finished.contains(&volume.name) && abandoned(&volume.labels) {
                self.remove_volume(&volume.name).await;
                removed += 1;
            }
        }
        removed
    }

    async fn labelled_volumes(&self, options: &Options) -> Vec<models::Volume> {
        let filter = ListVolumesOptionsBuilder::new().filters(&ours(options)).build();
        let list = self.docker.list_volumes(Some(filter)).await;
        list.ok().and_then(|list| list.volumes).unwrap_or_default()
    }

    /// The volumes of this cache that hold finished clusters or are being made.
    pub(crate) async fn volumes(&self, options: &Options) -> Vec<String> {
        self.labelled_volumes(options)
            .await
            .into_iter()
            .map(|volume| volume.name)
            .collect()
    }

    pub(crate) async fn has_volume(&self, name: &str) -> bool {
        self.docker.inspect_volume(name).await.is_ok()
    }

    pub(crate) async fn make_volume(&self, name: &str, options: &Options) -> Result<(), String> {
        let labels = Some(labels(options));
        let request = models::VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels,
            ..Default::default()
        };
        self.docker
            .create_volume(request)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }

    pub(crate) async fn remove_volume(&self, name: &str) {
        let _ = self.docker.remove_volume(name, None::<RemoveVolumeOptions>).await;
    }

    pub(crate) async fn remove_container(&self, id: &str) {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let _ = self.docker.remove_container(id, Some(options)).await;
    }

    /// Removes a container that was made and not started: only its label is known.
    async fn remove_half_made(&self, server: &str) {
        let filter = HashMap::from([("label".to_owned(), vec![format!("{LABEL_SERVER}={server}")])]);
        let filter = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filter)
            .build();
        for container in self
            .docker
            .list_containers(Some(filter))
            .await
            .unwrap_or_default()
        {
            self.remove_container(&container.id.unwrap_or_default()).await;
        }
    }

    /// Asks the server inside to shut down as PostgreSQL does fast, and waits for it. By signal: older daemons ignore
    /// the signal of a polite stop, and the image's own makes PostgreSQL wait for everybody.
    async fn shut_down(&self, id: &str) -> Result<(), String> {
        let kill = KillContainerOptionsBuilder::new().signal("SIGINT").build();
        self.docker
            .kill_container(id, Some(kill))
            .await
            .map_err(|error| error.to_string())?;
        let start = Instant::now();
        while self.ended(id).await.is_none() {
            if start.elapsed() > Duration::from_secs(60) {
                return Err("it does not shut down".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// What the container ended with, when it has ended.
    async fn ended(&self, id: &str) -> Option<String> {
        let seen = self.docker.inspect_container(id, None).await;
        match seen.ok().and_then(|seen| seen.state) {
            None => Some("the container is gone".to_owned()),
            Some(state) if state.running == Some(true) => None,
            Some(state) if state.oom_killed == Some(true) => Some("killed for want of memory".to_owned()),
            Some(state) => Some(format!("exit code {}", state.exit_code.unwrap_or(-1))),
        }
    }

    /// The last lines that the server printed.
    async fn log(&self, id: &str) -> String {
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail("40")
            .build();
        let mut lines = Vec::new();
        let mut stream = Box::pin(self.docker.logs(id, Some(options)));
        while let Ok(Some(Ok(line))) = timeout(Duration::from_secs(1), stream.next()).await {
            lines.extend_from_slice(&line.into_bytes());
        }
        crate::running::last_lines(&lines)
    }

    /// Where other containers reach this one on the default network.
    pub(crate) async fn address(&self, id: &str) -> Option<String> {
        let networks = self
            .docker
            .inspect_container(id, None)
            .await
            .ok()?
            .network_settings?
            .networks?;
        networks
            .into_values()
            .filter_map(|network| network.ip_address)
            .find(|address| !address.is_empty())
    }
}

/// Whether published ports will be on this machine.
fn nearby(host: Option<&str>) -> Result<(), String> {
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        return Ok(());
    };
    let name = host.split_once("://").map_or(host, |(_, rest)| rest);
    let near = host.starts_with("unix://")
        || ["localhost", "127.", "[::1]"]
            .iter()
            .any(|near| name.starts_with(near));
    if near {
        Ok(())
    } else {
        Err(format!(
            "the container daemon at {host} is not on this machine, so its ports are not"
        ))
    }
}

fn labels(options: &Options) -> HashMap<String, String> {
    HashMap::from([
        (LABEL.to_owned(), Owner::this().to_string()),
        (LABEL_CACHE.to_owned(), options.cache_dir.display().to_string()),
    ])
}

/// A filter for what carries this cache's label.
fn ours(options: &Options) -> HashMap<String, Vec<String>> {
    let cache = format!("{LABEL_CACHE}={}", options.cache_dir.display());
    HashMap::from([("label".to_owned(), vec![LABEL.to_owned(), cache])])
}

fn abandoned(labels: &HashMap<String, String>) -> bool {
    let owner = labels.get(LABEL).and_then(|words| words.parse::<Owner>().ok());
    owner.is_some_and(|owner| owner.life() == Life::Dead)
}

fn first_line(error: &dyn std::error::Error) -> String {
    // The cause says more than the library's own words around it.
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(None, true)]
    #[case(Some(""), true)]
    #[case(Some("unix:///var/run/docker.sock"), true)]
    #[case(Some("tcp://127.0.0.1:2375"), true)]
    #[case(Some("tcp://localhost:2375"), true)]
    #[case(Some("tcp://build.example:2376"), false)]
    #[case(Some("ssh://me@build.example"), false)]
    fn a_daemon_elsewhere_publishes_ports_elsewhere(#[case] host: Option<&str>, #[case] near: bool) {
        assert_eq!(nearby(host).is_ok(), near);
    }

    #[test]
    fn only_the_dead_are_abandoned() {
        let labelled = |owner: &str| HashMap::from([(LABEL.to_owned(), owner.to_owned())]);
        let this = Owner::this();
        assert!(!abandoned(&labelled(&this.to_string())));
        assert!(abandoned(&labelled(&format!("{}.1-0.{}", this.pid, this.place))));
        assert!(!abandoned(&labelled(&format!("{}.1-0.elsewhere", this.pid))));
        assert!(!abandoned(&labelled("nonsense")));
        assert!(!abandoned(&HashMap::new()));
    }
}
