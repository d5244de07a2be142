//! What a container is to run, whichever server it is.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::kind::Kind;

/// A container to be started, as the program is told that starts it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The image, tag included.
    pub image: String,
    /// The server's port inside, published on a free one of this machine's loopback interface.
    pub port: u16,
    /// In this machine's network instead, where the port is the machine's.
    pub host_network: bool,
    /// What the entry point is given.
    pub command: Vec<String>,
    /// Instead of the image's own.
    pub entry_point: Option<String>,
    /// Name and value of variables.
    pub environment: Vec<(String, String)>,
    /// Name of a volume, and where it is mounted.
    pub volumes: Vec<(String, String)>,
    /// Whose it is.
    pub labels: HashMap<String, String>,
}

impl Order {
    /// The image's name and tag; `latest` when it names none.
    pub fn name_and_tag(&self) -> (&str, &str) {
        name_and_tag(&self.image)
    }
}

/// A container to be started, whichever image it is of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// The server's port inside, published on a free one of this machine's loopback interface.
    pub(crate) port: u16,
    /// In this machine's network, where the port is the machine's.
    pub(crate) host_network: bool,
    pub(crate) command: Vec<String>,
    pub(crate) entry_point: Option<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// Name of a volume, and where it is mounted.
    pub(crate) volumes: Vec<(String, String)>,
}

/// The image of a server: its variable (`WAR_STORIES_IMAGE_POSTGRES`, …), else the public one; under the registry of
/// `WAR_STORIES_REGISTRY` when that is set and the variable is not.
pub(crate) fn image(kind: Kind) -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    match variable(&image_variable(kind)) {
        Some(image) => image,
        None => under_registry(public_image(kind), variable("WAR_STORIES_REGISTRY").as_deref()),
    }
}

/// The environment variable that names another image.
pub(crate) fn image_variable(kind: Kind) -> String {
    format!("WAR_STORIES_IMAGE_{}", kind.word().to_ascii_uppercase())
}

/// The versions are those of Debian 12, so that containers and its packages behave alike.
fn public_image(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "postgres:15-bookworm",
        Kind::Redis => "redis:7.0-bookworm",
        Kind::PgBouncer => "edoburu/pgbouncer:1.18.0",
        Kind::Etcd => "quay.io/coreos/etcd:v3.4.23",
        Kind::ZooKeeper => "zookeeper:3.8",
        Kind::DynamoDb => "amazon/dynamodb-local:2.5.2",
    }
}

/// The registry's prefix takes the place of the host that an image names, or of the public registry that it implies.
fn under_registry(image: &str, registry: Option<&str>) -> String {
    let Some(registry) = registry else {
        return image.to_owned();
    };
    let path = match image.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => image,
    };
    format!("{}/{path}", registry.trim_end_matches('/'))
}

/// An image's name and tag; `latest` when it names none. A digest's `name@sha256` counts as the name.
pub(crate) fn name_and_tag(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        // The colon of a registry's port is followed by a path.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("postgres:15-bookworm", None, "postgres:15-bookworm")]
    #[case(
        "postgres:15-bookworm",
        Some("mirror.example"),
        "mirror.example/postgres:15-bookworm"
    )]
    #[case(
        "edoburu/pgbouncer:1.18.0",
        Some("mirror.example/hub/"),
        "mirror.example/hub/edoburu/pgbouncer:1.18.0"
    )]
    #[case(
        "quay.io/coreos/etcd:v3.4.23",
        Some("localhost:5000"),
        "localhost:5000/coreos/etcd:v3.4.23"
    )]
    fn a_registry_takes_the_place_of_the_host(
        #[case] image: &str,
        #[case] registry: Option<&str>,
        #[case] full: &str,
    ) {
        assert_eq!(under_registry(image, registry), full);
    }

    #[rstest]
    #[case("postgres:15", ("postgres", "15"))]
    #[case("localhost:5000/postgres", ("localhost:5000/postgres", "latest"))]
    #[case("postgres@sha256:abc", ("postgres@sha256", "abc"))]
    fn tags_are_told_from_ports(#[case] image: &str, #[case] parts: (&str, &str)) {
        assert_eq!(name_and_tag(image), parts);
    }
}
