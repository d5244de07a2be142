//! What a tap counts.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What passed through a tap since it was started, as the client's side sees it.
///
/// Exact, without sampling: every message is read, and a connection that its client has closed is known as closed
/// before a later one is counted. Something counts when it arrives at the tap, whether or not it is passed on; answers
/// count when they are passed on (or lost by a rule), so what a gate holds is still in flight.
///
/// Cannot see: what the server does on its own (statements inside functions, autovacuum), connections that were made
/// past the tap (`Postgres::finish` compares with the server for that), anything inside a TLS session (the tap answers
/// that it has no TLS).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// TCP connections that arrived, whatever became of them: cancel requests and refused ones included.
    pub attempts: u64,
    /// Connections that have sent a startup packet and that neither side has closed. Gauge.
    pub connections_open: u64,
    /// The most that were open at one time.
    pub connections_peak: u64,
    pub connections_total: u64,
    /// Connections from the tap to the server that the server has not closed yet. Gauge.
    pub sessions_open: u64,
    /// Statements that read or change data, each portal and each part of a simple query once: not `BEGIN`, `COMMIT`,
    /// `ROLLBACK`, `SET`, `SHOW`, `DISCARD`, nor a ping (`SELECT 1`, an empty query).
    pub statements: u64,
    pub executes: u64,
    pub simple_queries: u64,
    pub parses: u64,
    /// Transactions begun, committed and rolled back by command, as the server answered.
    pub transactions: u64,
    pub commits: u64,
    pub rollbacks: u64,
    /// Connections whose last answer said that a transaction is open. Gauge.
    pub transactions_open: u64,
    /// Syncs and simple queries but for pings: how often a client waited for the server to work for it.
    pub round_trips: u64,
    /// Syncs with nothing before them and queries without a statement: how pools ask whether a connection is alive.
    /// sqlx sends one whenever a connection goes back to its pool, and another when it is taken out again.
    pub pings: u64,
    pub cancels: u64,
    /// Executes and simple queries whose answer has not been passed on in full. Gauge.
    pub in_flight: u64,
    pub in_flight_peak: u64,
    /// Messages after the startup packet, but for passwords and goodbyes.
    pub client_frames: u64,
    /// Errors that the server answered with, by SQLSTATE.
    pub sqlstates: BTreeMap<String, u64>,
}

/// A statement that arrived at a tap to be run, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The connection's number, from 1.
    pub connection: u64,
    /// Its text, also where the message that ran it only named a prepared statement. A simple query with several
    /// statements is one entry for each.
    pub sql: Arc<str>,
    /// The number of the message that ran it, within its connection, from 1.
    pub frame: u64,
    /// Whether it reads or changes data.
    pub data: bool,
}

impl Counts {
    /// What was added after `before` was taken. Gauges and peaks are left as they are now.
    pub fn since(&self, before: &Counts) -> Counts {
        let mut sqlstates = self.sqlstates.clone();
        for (state, n) in &before.sqlstates {
            if let Some(now) = sqlstates.get_mut(state) {
                *now -= n;
            }
        }
        sqlstates.retain(|_, n| *n > 0);
        Counts {
            attempts: self.attempts - before.attempts,
            connections_total: self.connections_total - before.connections_total,
            statements: self.statements - before.statements,
            executes: self.executes - before.executes,
            simple_queries: self.simple_queries - before.simple_queries,
            parses: self.parses - before.parses,
            transactions: self.transactions - before.transactions,
            commits: self.commits - before.commits,
            rollbacks: self.rollbacks - before.rollbacks,
            round_trips: self.round_trips - before.round_trips,
            pings: self.pings - before.pings,
            cancels: self.cancels - before.cancels,
            client_frames: self.client_frames - before.client_frames,
            sqlstates,
            ..self.clone()
        }
    }

    /// How often the server answered with that SQLSTATE.
    pub fn sqlstate(&self, state: &str) -> u64 {
        self.sqlstates.get(state).copied().unwrap_or(0)
    }

    pub(super) fn connection_opened(&mut self) {
        self.connections_total += 1;
        self.connections_open += 1;
        self.connections_peak = self.connections_peak.max(self.connections_open);
    }

    pub(super) fn statement_arrived(&mut self) {
        self.in_flight += 1;
        self.in_flight_peak = self.in_flight_peak.max(self.in_flight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_keeps_gauges_and_peaks() {
        let before = Counts {
            executes: 3,
            in_flight: 2,
            sqlstates: [("23505".to_string(), 1), ("57014".to_string(), 2)].into(),
            ..Counts::default()
        };
        let after = Counts {
            executes: 5,
            in_flight: 1,
            in_flight_peak: 4,
            sqlstates: [("23505".to_string(), 1), ("57014".to_string(), 3)].into(),
            ..Counts::default()
        };
        let since = after.since(&before);
        assert_eq!((since.executes, since.in_flight, since.in_flight_peak), (2, 1, 4));
        assert_eq!((since.sqlstate("57014"), since.sqlstate("23505")), (1, 0));
    }
}
