//! Where the container daemon answers.

use std::fmt;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// An address of a daemon on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Socket(PathBuf),
    /// `host:port`, in clear text.
    Tcp(String),
}

/// As `DOCKER_HOST` has it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Socket(path) => write!(f, "unix://{}", path.display()),
            Place::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// A connection to it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Place {
    /// What `DOCKER_HOST`'s words mean.
    ///
    /// # Errors
    /// Why there is no daemon to be had that way, as a fragment.
    pub(super) fn of(host: &str) -> Result<Place, String> {
        if let Some(path) = host.strip_prefix("unix://") {
            return Ok(Place::Socket(path.into()));
        }
        let address = ["tcp://", "http://"]
            .into_iter()
            .find_map(|scheme| host.strip_prefix(scheme))
            .map(|address| address.trim_end_matches('/'));
        match address {
            Some(address) if is_near(address) => Ok(Place::Tcp(address.to_owned())),
            Some(_) => Err(format!(
                "the container daemon at {host} is not on this machine, so its ports are not"
            )),
            None => Err(format!(
                "the container daemon at {host} is neither a socket nor a port here"
            )),
        }
    }

    /// The daemon that `docker` would talk to: `DOCKER_HOST`, else the chosen context, else the first of the usual
    /// sockets that exists.
    ///
    /// # Errors
    /// As [`Place::of`].
    pub(super) fn usual() -> Result<Place, String> {
        let host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        if let Some(host) = host {
            return Place::of(&host);
        }
        let home = std::env::var_os("HOME").map(PathBuf::from);
        if let Some(host) = home
            .as_deref()
            .and_then(|home| chosen_context(&home.join(".docker")))
        {
            return Place::of(&host);
        }
        let sockets = usual_sockets(home.as_deref());
        let there = sockets.iter().find(|socket| socket.exists());
        match there {
            Some(socket) => Ok(Place::Socket(socket.clone())),
            None => Err(format!(
                "no container daemon: {} does not exist",
                sockets[0].display()
            )),
        }
    }

    pub(super) async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Place::Socket(path) => Box::new(UnixStream::connect(path).await?),
            Place::Tcp(address) => Box::new(TcpStream::connect(address).await?),
        })
    }
}

/// Whether ports that are published there are published here.
fn is_near(address: &str) -> bool {
    ["localhost:", "127.", "[::1]:"]
        .iter()
        .any(|near| address.starts_with(near))
}

fn usual_sockets(home: Option<&Path>) -> Vec<PathBuf> {
    let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
    if let Some(folder) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        sockets.push(folder.join("docker.sock"));
        sockets.push(folder.join("podman/podman.sock"));
    }
    if let Some(home) = home {
        for name in [".docker/run/docker.sock", ".docker/desktop/docker.sock"] {
            sockets.push(home.join(name));
        }
    }
    sockets
}

/// The address of the context that `docker context use` chose, as the client's folder tells.
fn chosen_context(folder: &Path) -> Option<String> {
    let read = |path: &Path| -> Option<serde_json::Value> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    };
    let config = read(&folder.join("config.json"))?;
    let chosen = config.get("currentContext")?.as_str()?;
    let contexts = std::fs::read_dir(folder.join("contexts/meta")).ok()?;
    contexts
        .flatten()
        .filter_map(|entry| read(&entry.path().join("meta.json")))
        .find(|context| context.get("Name").is_some_and(|name| name == chosen))?
        .pointer("/Endpoints/docker/Host")?
        .as_str()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("unix:///var/run/docker.sock", Some(Place::Socket("/var/run/docker.sock".into())))]
    #[case("tcp://127.0.0.1:2375", Some(Place::Tcp("127.0.0.1:2375".into())))]
    #[case("tcp://localhost:2375/", Some(Place::Tcp("localhost:2375".into())))]
    #[case("tcp://[::1]:2375", Some(Place::Tcp("[::1]:2375".into())))]
    #[case("tcp://build.example:2376", None)]
    #[case("tcp://localhost.example:2376", None)]
    #[case("ssh://me@build.example", None)]
    fn a_daemon_elsewhere_publishes_ports_elsewhere(#[case] host: &str, #[case] place: Option<Place>) {
        assert_eq!(Place::of(host).ok(), place);
    }

    #[test]
    fn the_chosen_context_names_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(chosen_context(folder.path()), None);
        write("config.json", r#"{"currentContext":"colima"}"#);
        assert_eq!(chosen_context(folder.path()), None);
        let context = |name: &str| {
            format!(r#"{{"Name":"{name}","Endpoints":{{"docker":{{"Host":"unix:///run/{name}.sock"}}}}}}"#)
        };
        write("contexts/meta/1/meta.json", &context("other"));
        write("contexts/meta/2/meta.json", &context("colima"));
        assert_eq!(
            chosen_context(folder.path()).as_deref(),
            Some("unix:///run/colima.sock")
        );
    }
}
