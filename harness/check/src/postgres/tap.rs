//! The tap of PostgreSQL.

use super::counts::Statement;
use super::rule::Pg;
use super::session::Session;
use super::wire;
use crate::tap::Tap;
use pgwire::Config;
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;

/// A front of one PostgreSQL database: subjects connect to [`PgTap::url`].
///
/// A few microseconds of latency per round trip; bulk data is forwarded in chunks of 64 KiB. Every statement's text is
/// kept until the tap ends, so a load of millions of statements is better counted than logged.
///
/// Subjects must not ask for TLS (`sslmode=disable` is in the URL; a TLS request is declined).
pub type PgTap = Tap<Pg>;

impl PgTap {
    /// Starts a tap in front of `server`, whose user, password and database are the subject's, on `runtime`, which should
    /// be the harness's own.
    pub fn start(runtime: &Handle, server: &Config) -> io::Result<PgTap> {
        let subject = |port| Config {
            host: "127.0.0.1".to_owned(),
            port,
            ..server.clone()
        };
        Tap::open(runtime, (&server.host, server.port), subject, wire::serve)
    }

    /// What the subject is given.
    pub fn url(&self) -> String {
        let Config {
            host,
            port,
            user,
            password,
            database,
        } = self.config();
        format!("postgres://{user}:{password}@{host}:{port}/{database}?sslmode=disable")
    }

    /// The same for [`pgwire::Client`].
    pub fn config(&self) -> &Config {
        &self.shared.setting
    }

    /// Forgets the peaks, so that they tell of what comes from now on.
    pub fn reset_peaks(&self) {
        let counts = &mut self.shared.books().counts;
        counts.connections_peak = counts.connections_open;
        counts.in_flight_peak = counts.in_flight;
    }

    /// Every statement that arrived to be run, in order.
    pub fn statements(&self) -> Vec<Statement> {
        self.statements_after(0)
    }

    /// The statements that arrived after the first `n`.
    pub fn statements_after(&self, n: usize) -> Vec<Statement> {
        let books = self.shared.books();
        books.log.get(n..).map(<[_]>::to_vec).unwrap_or_default()
    }

    /// The server processes of the sessions that were made through this tap, ended ones included.
    pub fn pids(&self) -> HashSet<i32> {
        self.shared.books().pids.clone()
    }

    /// What is under way on each connection, in a line each. For the last words of a check: what is busy at this moment
    /// is passed over rather than waited for.
    pub(super) fn standing(&self) -> Vec<String> {
        let sessions: Vec<_> = self.shared.books().sessions.values().cloned().collect();
        let told = |session: &Arc<Mutex<Session>>| session.try_lock().ok()?.standing();
        sessions.iter().filter_map(told).collect()
    }

    /// How many startup packets were passed on, and how many of them led to a session as far as the server told.
    pub(super) fn sessions_begun(&self) -> (u64, u64) {
        let books = self.shared.books();
        (books.sessions_begun, books.sessions_established)
    }

    /// The types (by object id, 0 for none) that a driver declared for the parameters when it prepared this text.
    pub fn declared_types(&self, sql: &str) -> Option<Vec<u32>> {
        self.shared.books().declared.get(sql).cloned()
    }

    /// All texts that drivers have prepared, with the values that they bound last.
    #[cfg(feature = "binds")]
    pub fn bound(&self) -> Vec<(std::sync::Arc<str>, Vec<super::Bound>)> {
        let books = self.shared.books();
        let bound = books.bound.iter();
        bound.map(|(sql, values)| (sql.clone(), values.clone())).collect()
    }
}
