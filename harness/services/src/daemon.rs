//! Containers: the daemon, its images, and one container as a server.
//!
//! Servers are started through `testcontainers`, by a program of its own ([`starter`]). What has to be known before that
//! program is worth building (whether a daemon answers, whether the image is here or can be pulled), what it leaves to
//! others (giving a pull up when nothing comes, labels to find what a dead run left) and what has to be quick goes to the
//! daemon's own API.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::container::{Order, image, name_and_tag};
use crate::kind::Kind;
use crate::options::Options;
use crate::owner::{Life, Owner};
use http::escaped;
use place::Place;

mod contained;
mod http;
mod limited;
mod place;
mod pull;
mod starter;

pub(crate) use contained::Contained;
pub use limited::{End, Limited, LimitedProgram};

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
    place: Place,
    version: String,
    /// The newest API that it speaks, as a prefix of paths: daemons drop the old ones.
    api: String,
}

impl Daemon {
    /// # Errors
    /// Why there is none, as a fragment.
    pub(crate) async fn connect(options: &Options) -> Result<Daemon, String> {
        let place = match &options.search.daemon {
            Some(host) => Place::of(host),
            None => Place::usual(),
        }?;
        let hello = match timeout(HELLO_WITHIN, http::ask(&place, "GET", "/version", None)).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(error)) => return Err(format!("no container daemon answers at {place}: {error}")),
            Err(_) => {
                return Err(format!(
                    "the container daemon says nothing for {} s",
                    HELLO_WITHIN.as_secs()
                ));
            }
        };
        let api = match text(&hello, "/ApiVersion") {
            Some(version) => format!("/v{version}"),
            None => return Err("what answers at the container daemon's address is none".to_owned()),
        };
        let version = text(&hello, "/Version").unwrap_or_default();
        Ok(Daemon { place, version, api })
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        http::ask(&self.place, method, &format!("{}{path}", self.api), body).await
    }

    /// The content's name of an image that is here.
    pub(crate) async fn image_id(&self, image: &str) -> Option<String> {
        let seen = self
            .ask("GET", &format!("/images/{}/json", escaped(image)), None)
            .await;
        text(&seen.ok()?, "/Id")
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

    /// Removes containers and volumes of dead runs of this cache, and of `too`; returns how many.
    pub(crate) async fn sweep(&self, options: &Options, too: Option<&Owner>) -> usize {
        let mut removed = 0;
        let kept: Vec<String> = crate::record::Record::all(&options.cache_dir)
            .into_iter()
            .filter(|record| record.detached)
            .filter_map(|record| record.container)
            .collect();
        let path = format!("/containers/json?all=true&filters={}", ours(options));
        let list = self.ask("GET", &path, None).await.unwrap_or_default();
        for container in list.as_array().into_iter().flatten() {
            let id = text(container, "/Id").unwrap_or_default();
            if !kept.contains(&id) && abandoned(container, too) {
                self.remove_container(&id).await;
                removed += 1;
            }
        }
        let finished = crate::postgres::volume::finished(&options.cache_dir);
        for volume in self.labelled_volumes(options).await {
            let name = text(&volume, "/Name").unwrap_or_default();
            if !finished.contains(&name) && abandoned(&volume, too) {
                self.remove_volume(&name).await;
                removed += 1;
            }
        }
        removed
    }

    async fn labelled_volumes(&self, options: &Options) -> Vec<Value> {
        let path = format!("/volumes?filters={}", ours(options));
        let mut list = self.ask("GET", &path, None).await.unwrap_or_default();
        match list.get_mut("Volumes").map(Value::take) {
            Some(Value::Array(volumes)) => volumes,
            _ => Vec::new(),
        }
    }

    /// The volumes of this cache that hold finished clusters or are being made.
    pub(crate) async fn volumes(&self, options: &Options) -> Vec<String> {
        let volumes = self.labelled_volumes(options).await;
        volumes
            .iter()
            .filter_map(|volume| text(volume, "/Name"))
            .collect()
    }

    pub(crate) async fn has_volume(&self, name: &str) -> bool {
        self.ask("GET", &format!("/volumes/{}", escaped(name)), None)
            .await
            .is_ok()
    }

    pub(crate) async fn make_volume(&self, name: &str, options: &Options) -> Result<(), String> {
        let request = json!({ "Name": name, "Labels": labels(options) });
        self.ask("POST", "/volumes/create", Some(&request))
            .await
            .map(drop)
    }

    pub(crate) async fn remove_volume(&self, name: &str) {
        let _ = self
            .ask("DELETE", &format!("/volumes/{}", escaped(name)), None)
            .await;
    }

    pub(crate) async fn remove_container(&self, id: &str) {
        let path = format!("/containers/{}?force=true&v=true", escaped(id));
        let _ = self.ask("DELETE", &path, None).await;
    }

    /// Removes a container that was made and not started: only its label is known.
    async fn remove_half_made(&self, order: &Order) {
        let Some(server) = order.labels.get(LABEL_SERVER) else {
            return;
        };
        let label = json!({ "label": [format!("{LABEL_SERVER}={server}")] }).to_string();
        let path = format!("/containers/json?all=true&filters={}", escaped(&label));
        let list = self.ask("GET", &path, None).await.unwrap_or_default();
        for container in list.as_array().into_iter().flatten() {
            self.remove_container(&text(container, "/Id").unwrap_or_default())
                .await;
        }
    }

    async fn inspect(&self, id: &str) -> Result<Value, String> {
        self.ask("GET", &format!("/containers/{}/json", escaped(id)), None)
            .await
    }

    /// Asks the server inside to shut down as PostgreSQL does fast, and waits for it. By signal: older daemons ignore
    /// the signal of a polite stop, and the image's own makes PostgreSQL wait for everybody.
    async fn shut_down(&self, id: &str) -> Result<(), String> {
        let path = format!("/containers/{}/kill?signal=SIGINT", escaped(id));
        self.ask("POST", &path, None).await?;
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
        let Ok(seen) = self.inspect(id).await else {
            return Some("the container is gone".to_owned());
        };
        let is = |what: &str| seen.pointer(what).and_then(Value::as_bool) == Some(true);
        if is("/State/Running") {
            None
        } else if is("/State/OOMKilled") {
            Some("killed for want of memory".to_owned())
        } else {
            let code = seen.pointer("/State/ExitCode").and_then(Value::as_i64);
            Some(format!("exit code {}", code.unwrap_or(-1)))
        }
    }

    /// The last lines that the server printed.
    async fn log(&self, id: &str) -> String {
        let path = format!(
            "{}/containers/{}/logs?stdout=true&stderr=true&tail=40",
            self.api,
            escaped(id)
        );
        let read = async {
            let mut answer = http::send(&self.place, "GET", &path, &[], None).await.ok()?;
            answer.body().await.ok()
        };
        let framed = timeout(Duration::from_secs(2), read)
            .await
            .ok()
            .flatten()
            .unwrap_or_default();
        crate::running::last_lines(&unframed(&framed))
    }

    /// Where other containers reach this one on the default network.
    pub(crate) async fn address(&self, id: &str) -> Option<String> {
        let seen = self.inspect(id).await.ok()?;
        let networks = seen.pointer("/NetworkSettings/Networks")?.as_object()?;
        networks
            .values()
            .filter_map(|network| text(network, "/IPAddress"))
            .find(|address| !address.is_empty())
    }
}

fn text(value: &Value, place: &str) -> Option<String> {
    value.pointer(place)?.as_str().map(str::to_owned)
}

/// The daemon sends both outputs in one stream: eight bytes before each piece, the last four its length.
fn unframed(mut log: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    while let Some((head, rest)) = log.split_at_checked(8) {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (piece, rest) = rest.split_at(length.min(rest.len()));
        text.extend_from_slice(piece);
        log = rest;
    }
    text
}

fn labels(options: &Options) -> HashMap<String, String> {
    HashMap::from([
        (LABEL.to_owned(), Owner::this().to_string()),
        (LABEL_CACHE.to_owned(), options.cache_dir.display().to_string()),
    ])
}

/// A filter for what carries this cache's label, fit for a query.
fn ours(options: &Options) -> String {
    let cache = format!("{LABEL_CACHE}={}", options.cache_dir.display());
    escaped(&json!({ "label": [LABEL, cache] }).to_string())
}

/// Whether the owner in a container's or a volume's label is surely dead, or is `too`.
fn abandoned(labelled: &Value, too: Option<&Owner>) -> bool {
    let words = labelled.get("Labels").and_then(|labels| labels.get(LABEL));
    let owner = words
        .and_then(Value::as_str)
        .and_then(|words| words.parse::<Owner>().ok());
    owner.is_some_and(|owner| owner.life() == Life::Dead || Some(&owner) == too)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dead_are_abandoned() {
        let labelled = |owner: &str| json!({ "Labels": { LABEL: owner } });
        let this = Owner::this();
        assert!(!abandoned(&labelled(&this.to_string()), None));
        assert!(abandoned(&labelled(&this.to_string()), Some(this)));
        assert!(abandoned(
            &labelled(&format!("{}.1-0.{}", this.pid, this.place)),
            None
        ));
        assert!(!abandoned(
            &labelled(&format!("{}.1-0.elsewhere", this.pid)),
            Some(this)
        ));
        assert!(!abandoned(&labelled("nonsense"), Some(this)));
        assert!(!abandoned(&json!({ "Labels": null }), Some(this)));
        assert!(!abandoned(&json!({}), Some(this)));
    }

    #[test]
    fn both_outputs_come_out_of_one_stream() {
        let log = b"\x01\0\0\0\0\0\0\x03one\x02\0\0\0\0\0\0\x03two\x01\0\0\0\0\0\0\x09cut";
        assert_eq!(unframed(log), b"onetwocut");
        assert_eq!(unframed(b""), b"");
    }
}
