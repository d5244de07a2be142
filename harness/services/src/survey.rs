//! What `doctor` tells: each server, each way to have it, and what is missing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cache::{self, Entry};
use crate::daemon::Daemon;
use crate::kind::Kind;
use crate::options::Options;
use crate::{background, container, fetch, find};

/// All that is known about servers on this machine, without starting or fetching one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// The container daemon.
    pub daemon: DaemonState,
    /// Each server.
    pub kinds: Vec<KindSurvey>,
    /// What is kept between runs, with sizes in bytes.
    pub cache: Vec<Entry>,
    /// The cache folder.
    pub cache_dir: std::path::PathBuf,
}

/// Whether a container daemon answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DaemonState {
    /// It does, and says its version.
    Answers(String),
    /// It does not, and why.
    Absent(String),
}

/// One server and the ways to have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindSurvey {
    /// The server.
    pub kind: Kind,
    /// The ways, in the order in which they are tried.
    pub ways: Vec<Way>,
}

impl KindSurvey {
    /// Whether any way is open, the fetch counting as one when a package client is there.
    pub fn is_available(&self) -> bool {
        self.ways.iter().any(|way| way.ready)
    }
}

/// One way to have a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// "container", "installed", "fetched".
    pub name: String,
    /// Whether it is open.
    pub ready: bool,
    /// What was found, with its version, or what is missing.
    pub found: String,
    /// What to type when it is not open.
    pub next: Option<String>,
}

/// Looks at everything, in a second or so; nothing is started, pulled or fetched. Blocks; not to be called from
/// asynchronous code.
pub fn survey(options: &Options) -> Survey {
    let daemon = background::wait({
        let options = options.clone();
        async move {
            let daemon = Daemon::connect(&options).await?;
            let mut images = Vec::new();
            for kind in Kind::ALL {
                images.push(daemon.image_id(&container::image(kind)).await.is_some());
            }
            Ok::<_, String>((daemon.version().to_owned(), images))
        }
    });
    let by_container = |kind: Kind| {
        let image = container::image(kind);
        let position = Kind::ALL.iter().position(|other| *other == kind);
        match &daemon {
            Ok((_, images)) if position.is_some_and(|position| images[position]) => {
                way("container", Ok(image), "")
            }
            Ok(_) => {
                let missing = format!("image {image} is not here; it is pulled when a registry answers");
                way("container", Err(missing), &format!("docker pull {image}"))
            }
            Err(reason) => way("container", Err(reason.clone()), "start a container daemon"),
        }
    };
    let kinds = Kind::ALL.into_iter().map(|kind| {
        let ways = match kind.is_built() {
            true => vec![by_container(kind), built(kind, options)],
            false => vec![
                by_container(kind),
                installed(kind, options),
                fetched(kind, options),
            ],
        };
        KindSurvey { kind, ways }
    });
    let kinds = kinds.collect();
    let daemon = match daemon {
        Ok((version, _)) => DaemonState::Answers(version),
        Err(reason) => DaemonState::Absent(reason),
    };
    Survey {
        daemon,
        kinds,
        cache: cache::entries(options),
        cache_dir: options.cache_dir.clone(),
    }
}

fn installed(kind: Kind, options: &Options) -> Way {
    let found = find::installed(kind, &options.search);
    let found = found.map(|program| format!("{} {}", program.path.display(), program.version));
    way("installed", found, &kind.install_command())
}

/// A program of the workbook's own.
fn built(kind: Kind, options: &Options) -> Way {
    let found = match std::env::var_os("CARGO").is_some() || options.search.program("cargo").is_some() {
        true => Ok("by cargo, when it is first needed".to_owned()),
        false => Err("no `cargo` on PATH".to_owned()),
    };
    way("compiled", found, &kind.install_command())
}

fn fetched(kind: Kind, options: &Options) -> Way {
    let folder = options.cache_dir.join("fetched").join(kind.word());
    if let Ok(program) = fetch::unpacked(kind, &folder, &options.search) {
        return way(
            "fetched",
            Ok(format!("{} {}", program.path.display(), program.version)),
            "",
        );
    }
    let missing = ["apt-get", "apt-cache", "dpkg-deb"]
        .into_iter()
        .find(|name| options.search.program(name).is_none());
    match missing {
        None => way(
            "fetched",
            Ok("not yet; the package client is there".to_owned()),
            "",
        ),
        Some(name) => way(
            "fetched",
            Err(format!("no `{name}` on PATH")),
            &kind.install_command(),
        ),
    }
}

fn way(name: &str, found: Result<String, String>, next: &str) -> Way {
    let (ready, found) = match found {
        Ok(found) => (true, found),
        Err(missing) => (false, missing),
    };
    let next = (!ready).then(|| next.to_owned());
    Way {
        name: name.to_owned(),
        ready,
        found,
        next,
    }
}

/// For people: one block per server, then the cache.
impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.daemon {
            DaemonState::Answers(version) => writeln!(f, "container daemon: {version}")?,
            DaemonState::Absent(reason) => writeln!(f, "container daemon: none ({reason})")?,
        }
        for survey in &self.kinds {
            writeln!(f, "{}", survey.kind.title())?;
            for Way {
                name,
                ready,
                found,
                next,
            } in &survey.ways
            {
                let mark = if *ready { "ok" } else { "--" };
                writeln!(
                    f,
                    "  {mark} {name:<10} {}",
                    found.lines().next().unwrap_or_default()
                )?;
                if let Some(next) = next {
                    writeln!(f, "     {:<10} {next}", "type:")?;
                }
            }
        }
        writeln!(f, "cache: {}", self.cache_dir.display())?;
        for Entry { path, what, bytes } in &self.cache {
            let size = bytes.map_or_else(
                || "?".to_owned(),
                |bytes| format!("{} MiB", bytes.div_ceil(1 << 20)),
            );
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            writeln!(f, "  {size:>8}  {name}  {what}")?;
        }
        Ok(())
    }
}
