//! etcd: one node, its data in the run's folder, its peer port unused but needed.

use std::path::Path;
use std::process::Command;

use crate::container::Plan;
use crate::endpoint::Endpoint;
use crate::find::Program;

pub(crate) fn command(program: &Program, data: &Path, port: u16) -> Command {
    let url = format!("http://127.0.0.1:{port}");
    let mut command = program.command("");
    command.arg("--data-dir").arg(data.join("etcd"));
    // The peer listener takes any port, since nobody is told which.
    command.args(settings(&url, "http://127.0.0.1:0"));
    // etcd reads ETCD_* as options; those of the caller's shell are not meant for this node.
    std::env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| name.to_string_lossy().starts_with("ETCD_"))
        .for_each(|name| {
            command.env_remove(name);
        });
    command.env(
        "ETCD_UNSUPPORTED_ARCH",
        std::env::consts::ARCH.replace("aarch64", "arm64"),
    );
    command
}

pub(crate) fn plan() -> Plan {
    let start = ["/usr/local/bin/etcd", "--data-dir", "/tmp/etcd"].map(str::to_owned);
    let command = start
        .into_iter()
        .chain(settings("http://0.0.0.0:2379", "http://127.0.0.1:0"))
        .collect();
    Plan {
        port: 2379,
        command,
        ..Plan::default()
    }
}

pub(crate) fn endpoint(port: u16) -> Endpoint {
    Endpoint::Etcd {
        host: "127.0.0.1".to_owned(),
        port,
    }
}

fn settings(client: &str, peer: &str) -> Vec<String> {
    [
        "--name",
        "node",
        "--listen-client-urls",
        client,
        "--advertise-client-urls",
        client,
        "--listen-peer-urls",
        peer,
        "--initial-advertise-peer-urls",
        "http://127.0.0.1:2380",
        "--initial-cluster",
        "node=http://127.0.0.1:2380",
    ]
    .map(str::to_owned)
    .to_vec()
}
