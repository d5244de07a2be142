//! The tap of Redis.

use super::counts::Command;
use super::rule::Resp;
use super::wire;
use crate::tap::Tap;
use std::io;
use tokio::runtime::Handle;

/// A front of one Redis server: subjects connect to [`RedisTap::url`].
///
/// A few microseconds of latency per round trip. A value is passed on once all of it has arrived. Every command is kept
/// until the tap ends, so a load of millions is better counted than logged.
pub type RedisTap = Tap<Resp>;

impl RedisTap {
    /// Starts a tap in front of the server at `host` and `port`, on `runtime`, which should be the harness's own.
    pub fn start(runtime: &Handle, host: &str, port: u16) -> io::Result<RedisTap> {
        Tap::open(runtime, (host, port), |_| (), wire::serve)
    }

    /// What the subject is given.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port())
    }

    /// Forgets the peaks, so that they tell of what comes from now on.
    pub fn reset_peaks(&self) {
        let counts = &mut self.shared.books().counts;
        counts.connections_peak = counts.connections_open;
        counts.in_flight_peak = counts.in_flight;
    }

    /// Every command that arrived, in order.
    pub fn commands(&self) -> Vec<Command> {
        self.commands_after(0)
    }

    /// The commands that arrived after the first `n`.
    pub fn commands_after(&self, n: usize) -> Vec<Command> {
        let books = self.shared.books();
        books.log.get(n..).map(<[_]>::to_vec).unwrap_or_default()
    }

    /// How many connections this tap has made to the server.
    pub(super) fn connections_to_server(&self) -> u64 {
        self.shared.books().to_server
    }
}
