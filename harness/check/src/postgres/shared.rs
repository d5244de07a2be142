//! What the connections of one tap share: counts, the log of statements, the link's state, who is connected.

use super::counts::{Counts, Statement};
use super::rule::Pg;
use super::session::Session;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

pub(super) type Shared = crate::tap::Shared<Pg>;

/// Everything that is counted, under one lock.
#[derive(Debug, Default)]
pub struct Books {
    pub counts: Counts,
    pub log: Vec<Statement>,
    /// The server processes of this tap's sessions, ended ones included.
    pub pids: HashSet<i32>,
    /// Sessions whose startup packet was passed on, and those of which the server has told that they exist.
    pub sessions_begun: u64,
    pub sessions_established: u64,
    /// The types that drivers declared for the parameters of what they prepared, by SQL.
    pub declared: HashMap<Arc<str>, Vec<u32>>,
    /// The values that were bound last, by SQL.
    #[cfg(feature = "binds")]
    pub bound: HashMap<Arc<str>, Vec<super::bound::Bound>>,
    /// Duplicates of the sockets of those whose client has not closed yet, by connection.
    clients: HashMap<u64, OwnedFd>,
    /// The connections that are being served.
    pub(super) sessions: BTreeMap<u64, Arc<Mutex<Session>>>,
}

impl Books {
    /// Counts a connection that has said what it wants; returns its number.
    ///
    /// Others whose client has hung up are counted as closed first, even if the tap has not come to reading that:
    /// a pool that closes one connection and then opens another never has two, however the tap's tasks are scheduled.
    pub fn connect(&mut self, client: OwnedFd) -> u64 {
        self.see_hang_ups();
        self.counts.connection_opened();
        let connection = self.counts.connections_total;
        self.clients.insert(connection, client);
        connection
    }

    /// The client has closed the connection, or it was cut. May be told more than once.
    pub fn disconnect(&mut self, connection: u64) {
        if self.clients.remove(&connection).is_some() {
            self.counts.connections_open -= 1;
        }
    }

    /// Counts connections as closed whose client has hung up, whether or not the tap has come to reading that.
    pub fn see_hang_ups(&mut self) {
        for connection in self.hung_up() {
            self.disconnect(connection);
        }
    }

    fn hung_up(&self) -> Vec<u64> {
        // Systems without POLLRDHUP report a hang-up once both directions are closed; the rest is read in time.
        #[cfg(target_os = "linux")]
        let interest = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
        #[cfg(not(target_os = "linux"))]
        let interest = PollFlags::empty();

        let (numbers, mut polled): (Vec<u64>, Vec<PollFd<'_>>) = self
            .clients
            .iter()
            .map(|(&number, fd)| (number, PollFd::new(fd.as_fd(), interest)))
            .unzip();
        if poll(&mut polled, PollTimeout::ZERO).is_err() {
            return Vec::new();
        }
        // `None`: a flag that nix has no name for, which can only be the one that was asked for.
        let hung_up = |fd: &PollFd<'_>| fd.revents() != Some(PollFlags::empty());
        numbers
            .into_iter()
            .zip(&polled)
            .filter(|(_, fd)| hung_up(fd))
            .map(|(number, _)| number)
            .collect()
    }
}
