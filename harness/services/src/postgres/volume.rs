//! Cached clusters for containers: one labelled volume each, described by a file in the cache once it is finished.
//!
//! A run's container gets the volume read by a copy at its start, never the volume itself as its data.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{SUPERUSER, endpoint, open, seed, settings};
use crate::container::{Plan, image};
use crate::daemon::{Contained, Daemon};
use crate::endpoint::Endpoint;
use crate::kind::Kind;
use crate::lock::Lock;
use crate::options::Options;
use crate::{Error, PostgresSeed, background, secret};

/// Counts up when volumes are made differently.
const FORMAT: u32 = 1;

/// Where a container sees the cached cluster.
const SHELF: &str = "/war-stories";

/// A finished volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    format: u32,
    volume: String,
    /// The content's name of the image that made it.
    image: String,
    password: String,
    templates: BTreeMap<String, String>,
}

fn shelf(cache: &Path) -> PathBuf {
    cache.join("clusters").join("volumes")
}

fn list(cache: &Path) -> Vec<(PathBuf, About)> {
    let files = fs::read_dir(shelf(cache))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    files
        .filter_map(|file| Some((file.clone(), serde_json::from_slice(&fs::read(&file).ok()?).ok()?)))
        .collect()
}

/// Names of the finished volumes of a cache.
pub(crate) fn finished(cache: &Path) -> Vec<String> {
    list(cache).into_iter().map(|(_, about)| about.volume).collect()
}

impl Daemon {
    /// Starts PostgreSQL in a container on a copy of a cached cluster that holds the templates of `seeds`.
    pub(crate) async fn start_postgres(
        &self,
        options: &Options,
        seeds: &[PostgresSeed],
    ) -> Result<(Contained, Endpoint, String), Error> {
        seeds.iter().try_for_each(PostgresSeed::check)?;
        let mut patience = 1;
        loop {
            // Held until the copy is made, which the first answer proves.
            let (about, fresh, _lock) = self.ready(options, seeds).await?;
            let plan = plan(&about, options);
            let started = async {
                let contained = self.start(Kind::Postgres, options, &plan).await?;
                let endpoint = endpoint(contained.port(), &about.password);
                let version = contained.until_ready(&endpoint).await?;
                let mut endpoint = open(endpoint, seeds).await?;
                if let Endpoint::Postgres { inside, .. } = &mut endpoint {
                    *inside = self
                        .address(contained.id())
                        .await
                        .map(|address| format!("{address}:{}", plan.port));
                }
                Ok::<_, Error>((contained, endpoint, version))
            };
            match started.await {
                Err(error) if patience > 0 && !fresh && super::suspicious(&error) => {
                    patience -= 1;
                    options.say("the cached database volume is damaged; making it anew");
                    for (file, _) in list(&options.cache_dir)
                        .iter()
                        .filter(|(_, other)| other.volume == about.volume)
                    {
                        let _ = fs::remove_file(file);
                    }
                    self.remove_volume(&about.volume).await;
                }
                other => return other,
            }
        }
    }

    /// A finished volume with the templates of `seeds`, made first when there is none; and whether it is new.
    async fn ready(&self, options: &Options, seeds: &[PostgresSeed]) -> Result<(About, bool, Lock), Error> {
        let wanted: BTreeMap<String, String> = seeds
            .iter()
            .map(|seed| (seed.name.clone(), seed.fingerprint()))
            .collect();
        let id = self.image_id(&image(Kind::Postgres)).await.unwrap_or_default();
        let shelf = shelf(&options.cache_dir);
        let mut fresh = false;
        loop {
            let lock = background::blocking(|| Lock::to_read(&shelf, options, "fills the database cache"))?;
            if let Some(about) = self.covering(options, &id, &wanted).await {
                return Ok((about, fresh, lock));
            }
            drop(lock);
            let _lock =
                background::blocking(|| Lock::to_change(&shelf, options, "fills the database cache"))?;
            if self.covering(options, &id, &wanted).await.is_none() {
                self.make(options, seeds, &id, wanted.clone()).await?;
                fresh = true;
            }
        }
    }

    async fn covering(
        &self,
        options: &Options,
        id: &str,
        wanted: &BTreeMap<String, String>,
    ) -> Option<About> {
        let fits = |about: &About| {
            about.format == FORMAT
                && about.image == id
                && wanted
                    .iter()
                    .all(|(name, print)| about.templates.get(name) == Some(print))
        };
        let mut fitting: Vec<About> = list(&options.cache_dir)
            .into_iter()
            .map(|(_, about)| about)
            .filter(fits)
            .collect();
        fitting.sort_by_key(|about| about.templates.len());
        for about in fitting {
            // The daemon may have been told to forget it.
            if self.has_volume(&about.volume).await {
                return Some(about);
            }
        }
        None
    }

    /// Makes a volume, and the file that says it is finished. The caller holds the lock.
    async fn make(
        &self,
        options: &Options,
        seeds: &[PostgresSeed],
        image: &str,
        templates: BTreeMap<String, String>,
    ) -> Result<(), Error> {
        options.say("preparing a PostgreSQL volume for containers, once");
        let options = &Options {
            detached: false,
            ..options.clone()
        };
        let (password, volume) = (secret::password(), format!("war-stories-{}", secret::password()));
        let failed = |reason: String| Error::Died {
            kind: Kind::Postgres,
            program: crate::container::image(Kind::Postgres),
            status: reason,
            log: String::new(),
            next: "look at the container daemon's log".to_owned(),
        };
        self.make_volume(&volume, options).await.map_err(failed)?;
        let filled = async {
            let contained = self
                .start(Kind::Postgres, options, &making(&volume, &password, options))
                .await?;
            let endpoint = endpoint(contained.port(), &password);
            contained.until_ready(&endpoint).await?;
            seed::prepare(&endpoint).await?;
            for seed in seeds {
                options.say(format!("seeding template database `{}`, once", seed.name));
                seed::plant(&endpoint, seed).await?;
            }
            contained.shut_down().await.map_err(failed)
        };
        if let Err(error) = filled.await {
            self.remove_volume(&volume).await;
            return Err(error);
        }
        let about = About {
            format: FORMAT,
            volume,
            image: image.to_owned(),
            password,
            templates,
        };
        let file = shelf(&options.cache_dir).join(format!("{}.json", about.volume));
        let text = serde_json::to_vec_pretty(&about).expect("plain data");
        fs::write(&file, text).map_err(|source| Error::folder(&file, "write", source))
    }
}

/// The first start: the image's own entry point makes the cluster inside the volume.
fn making(volume: &str, password: &str, options: &Options) -> Plan {
    let mut plan = Plan {
        port: 5432,
        volumes: vec![(volume.to_owned(), SHELF.to_owned())],
        ..Plan::default()
    };
    plan.environment = [
        ("PGDATA", format!("{SHELF}/data")),
        ("POSTGRES_USER", SUPERUSER.to_owned()),
        ("POSTGRES_PASSWORD", password.to_owned()),
        ("POSTGRES_HOST_AUTH_METHOD", "password".to_owned()),
        (
            "POSTGRES_INITDB_ARGS",
            "--encoding=UTF8 --locale=C --no-sync".to_owned(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    plan.command = command(options);
    plan.command
        .extend(["-c", "min_wal_size=32MB", "-c", "max_wal_size=1GB"].map(str::to_owned));
    plan
}

/// Each later start: a copy of the volume's cluster, then the image's own entry point, which finds it made.
fn plan(about: &About, options: &Options) -> Plan {
    let script = format!(
        "mkdir -p \"$PGDATA\" && cp -a --reflink=auto {SHELF}/data/. \"$PGDATA\"/ 2>/dev/null || \
         cp -a {SHELF}/data/. \"$PGDATA\"/; exec docker-entrypoint.sh \"$@\""
    );
    let mut words = vec!["-c".to_owned(), script, "sh".to_owned()];
    words.extend(command(options));
    Plan {
        port: 5432,
        host_network: false,
        command: words,
        entry_point: Some("sh".to_owned()),
        volumes: vec![(about.volume.clone(), SHELF.to_owned())],
        environment: vec![("POSTGRES_PASSWORD".to_owned(), about.password.clone())],
    }
}

fn command(options: &Options) -> Vec<String> {
    let settings = settings(options)
        .into_iter()
        .flat_map(|setting| ["-c".to_owned(), setting]);
    ["postgres".to_owned()].into_iter().chain(settings).collect()
}
