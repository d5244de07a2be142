//! What a Redis tap counts.

use std::collections::BTreeMap;

use bytes::Bytes;

/// What passed through a tap since it was started, as the client's side sees it.
///
/// Exact, without sampling: every command and every reply is read. A command counts when it arrives at the tap, whether
/// or not it is passed on; a reply when it is passed on (or lost by a rule), so what a gate holds is still in flight.
///
/// Cannot see: commands inside a script, connections that were made past the tap ([`Redis`](super::Redis) compares with
/// the server for that), anything inside a TLS session. Whether a connection that was closed by its client is still open
/// may be known a moment later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// TCP connections that arrived, whatever became of them.
    pub attempts: u64,
    /// Connections that were passed on and that neither side has closed. Gauge.
    pub connections_open: u64,
    pub connections_peak: u64,
    pub connections_total: u64,
    /// Commands that work with data: none of those by which a client introduces itself or asks whether the server is
    /// there (`HELLO`, `AUTH`, `CLIENT`, `SELECT`, `PING`, `INFO`, `COMMAND`, `QUIT`, …).
    pub commands: u64,
    /// Commands of every kind, by name in capitals.
    pub by_name: BTreeMap<String, u64>,
    /// Errors that the server answered with, by their first word.
    pub errors: BTreeMap<String, u64>,
    /// What the server said unasked.
    pub pushes: u64,
    /// Commands whose reply has not been passed on. Gauge.
    pub in_flight: u64,
    pub in_flight_peak: u64,
}

/// A command that arrived at a tap, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The connection's number, from 1.
    pub connection: u64,
    /// The command's number within its connection, from 1.
    pub frame: u64,
    /// In capitals.
    pub name: String,
    /// The name as it was sent, and the arguments. A long one is cut short.
    pub args: Vec<Bytes>,
    /// Whether it works with data; see [`Counts::commands`].
    pub data: bool,
}

impl Counts {
    /// How many commands of that name there were.
    pub fn command(&self, name: &str) -> u64 {
        self.by_name.get(name).copied().unwrap_or(0)
    }

    /// What was added after `before` was taken. Gauges and peaks are left as they are now.
    pub fn since(&self, before: &Counts) -> Counts {
        Counts {
            attempts: self.attempts - before.attempts,
            connections_total: self.connections_total - before.connections_total,
            commands: self.commands - before.commands,
            by_name: added(&self.by_name, &before.by_name),
            errors: added(&self.errors, &before.errors),
            pushes: self.pushes - before.pushes,
            ..self.clone()
        }
    }

    pub(super) fn connection_opened(&mut self) {
        self.connections_total += 1;
        self.connections_open += 1;
        self.connections_peak = self.connections_peak.max(self.connections_open);
    }

    pub(super) fn command_arrived(&mut self, command: &Command) {
        self.commands += u64::from(command.data);
        *self.by_name.entry(command.name.clone()).or_default() += 1;
        self.in_flight += 1;
        self.in_flight_peak = self.in_flight_peak.max(self.in_flight);
    }
}

fn added(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    now.iter()
        .map(|(name, n)| (name.clone(), n - before.get(name).copied().unwrap_or(0)))
        .filter(|(_, n)| *n > 0)
        .collect()
}

/// Whether a command of that name works with data.
pub(super) fn is_data(name: &str) -> bool {
    !matches!(
        name,
        "" | "HELLO"
            | "AUTH"
            | "CLIENT"
            | "SELECT"
            | "PING"
            | "ECHO"
            | "INFO"
            | "COMMAND"
            | "CONFIG"
            | "QUIT"
            | "RESET"
            | "READONLY"
            | "TIME"
            | "SCRIPT"
            | "FUNCTION"
    )
}
