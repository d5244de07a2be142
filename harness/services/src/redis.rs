//! Redis: nothing on disk, nothing remembered between runs.

use std::process::Command;

use crate::container::Plan;
use crate::endpoint::Endpoint;
use crate::find::Program;

pub(crate) fn command(program: &Program, port: u16) -> Command {
    let mut command = program.command("");
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(SETTINGS);
    command
}

pub(crate) fn plan() -> Plan {
    Plan {
        port: 6379,
        command: words(&["redis-server"]).chain(words(SETTINGS)).collect(),
        ..Plan::default()
    }
}

pub(crate) fn endpoint(port: u16) -> Endpoint {
    Endpoint::Redis {
        host: "127.0.0.1".to_owned(),
        port,
    }
}

/// No snapshots and no append-only file. The rest is Redis' own, so that what a scenario shows is what production does.
const SETTINGS: &[&str] = &["--save", "", "--appendonly", "no", "--daemonize", "no"];

fn words(words: &'static [&'static str]) -> impl Iterator<Item = String> {
    words.iter().map(|word| (*word).to_owned())
}
