//! The protocol's state on one connection: which SQL a message stands for, and which message an answer belongs to.
//!
//! Pure: no socket, no clock. [`Session::request`] is told every message of the client in order, [`Session::reply`]
//! every message of the server.

use super::counts::{Counts, Statement};
use super::rule::Kind;
use super::shared::Books;
use super::sql;
use crate::tap::noted;
use pgwire::frame::FrameError;
use pgwire::reply::Transaction;
use pgwire::{Reply, Request, ServerError, request::Target};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Characters of a statement that are told.
const SQL_CHARS_TOLD: usize = 80;

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Session {
    connection: u64,
    frames: u64,
    statements: HashMap<String, Arc<str>>,
    portals: HashMap<String, Portal>,
    /// Messages that the server will answer, oldest first.
    pending: VecDeque<Pending>,
    /// After an error the server ignores everything up to the next Sync.
    skipping: bool,
    /// The server reads the data of a COPY and ignores Syncs.
    copying: bool,
    /// Nothing has been sent since the last Sync.
    trip_unbegun: bool,
    /// Some of the answers of the current round trip have been seen.
    trip_begun: bool,
    in_transaction: bool,
    /// What was run last.
    last: Option<Arc<str>>,
    /// How much of it waits at gates.
    pub held: u32,
    /// The server's process, once it has told.
    pub pid: Option<i32>,
}

#[derive(Debug, Clone)]
struct Portal {
    sql: Arc<str>,
    data: bool,
    /// Fetching a result piece by piece is one statement.
    counted: bool,
}

/// A client's message, and while it waits for its answer.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub kind: Kind,
    pub frame: u64,
    pub sql: Option<Arc<str>>,
    pub data: bool,
    /// The rules up to this one have been asked about it.
    pub asked: u64,
}

/// The packet that opens a session, as a message.
pub(super) const STARTUP: Pending = Pending {
    kind: Kind::Startup,
    frame: 0,
    sql: None,
    data: false,
    asked: 0,
};

impl Session {
    /// A connection whose startup packet is on its way to the server.
    pub fn new(connection: u64) -> Session {
        Session {
            connection,
            frames: 0,
            statements: HashMap::new(),
            portals: HashMap::new(),
            pending: VecDeque::from([STARTUP]),
            skipping: false,
            copying: false,
            trip_unbegun: true,
            trip_begun: false,
            in_transaction: false,
            last: None,
            held: 0,
            pid: None,
        }
    }

    /// Whether more than the header of this client's message has to be there before it can be understood.
    pub fn request_needs_body(tag: u8) -> bool {
        matches!(tag, b'Q' | b'P' | b'B' | b'E' | b'D' | b'C')
    }

    /// Whether the body of this server's message is looked at. Rows and copied data are not.
    pub fn reply_needs_body(tag: u8) -> bool {
        matches!(tag, b'C' | b'E' | b'Z' | b'K')
    }

    /// A message of the client has arrived. `body` may be incomplete as far as [`Request::decode`] allows it.
    pub fn request(&mut self, tag: u8, body: &[u8], books: &mut Books) -> Result<Pending, FrameError> {
        let Books {
            counts,
            log,
            declared,
            #[cfg(feature = "binds")]
            bound,
            ..
        } = books;
        let request = Request::decode(tag, body)?;
        let kind = self.kind(&request);
        if !matches!(kind, Kind::Password | Kind::Terminate) {
            self.frames += 1;
            counts.client_frames += 1;
        }
        let mut arrived = Pending {
            kind,
            frame: self.frames,
            sql: None,
            data: false,
            asked: 0,
        };
        match request {
            Request::Parse {
                statement,
                sql,
                types,
            } => {
                counts.parses += 1;
                let sql: Arc<str> = sql.into();
                if !declared.contains_key(&sql) {
                    declared.insert(sql.clone(), types);
                }
                arrived.sql = Some(sql.clone());
                arrived.data = sql::is_data(&sql);
                self.statements.insert(statement.into_owned(), sql);
            }
            Request::Bind { portal, statement } => {
                arrived.sql = self.statements.get(statement.as_ref()).cloned();
                if let Some(sql) = arrived.sql.clone() {
                    arrived.data = sql::is_data(&sql);
                    #[cfg(feature = "binds")]
                    if let Some(values) = super::bound::values(body) {
                        bound.insert(sql.clone(), values);
                    }
                    self.portals.insert(
                        portal.into_owned(),
                        Portal {
                            sql,
                            data: arrived.data,
                            counted: false,
                        },
                    );
                }
            }
            Request::Execute { portal, .. } => {
                counts.executes += 1;
                counts.statement_arrived();
                if let Some(portal) = self.portals.get_mut(portal.as_ref()) {
                    arrived.sql = Some(portal.sql.clone());
                    arrived.data = portal.data;
                    if !std::mem::replace(&mut portal.counted, true) {
                        counts.statements += u64::from(portal.data);
                        noted(log, self.statement(&arrived));
                    }
                }
            }
            Request::Query { .. } | Request::Sync if kind == Kind::Ping => counts.pings += 1,
            Request::Query { sql } => {
                counts.simple_queries += 1;
                counts.round_trips += 1;
                counts.statement_arrived();
                for part in sql::split(&sql) {
                    let data = sql::is_data(part);
                    counts.statements += u64::from(data);
                    arrived.data |= data;
                    let part = self.statement(&Pending {
                        sql: Some(part.into()),
                        data,
                        ..arrived.clone()
                    });
                    noted(log, part);
                }
                arrived.sql = Some(sql.into());
            }
            Request::Describe(Target::Statement(name)) => {
                arrived.sql = self.statements.get(name.as_ref()).cloned();
            }
            Request::Describe(Target::Portal(name)) => {
                arrived.sql = self.portals.get(name.as_ref()).map(|portal| portal.sql.clone());
            }
            Request::Close(Target::Statement(name)) => arrived.sql = self.statements.remove(name.as_ref()),
            Request::Close(Target::Portal(name)) => {
                arrived.sql = self.portals.remove(name.as_ref()).map(|portal| portal.sql);
            }
            Request::Sync => counts.round_trips += 1,
            Request::CopyDone | Request::CopyFail => self.copying = false,
            _ => {}
        }
        if matches!(arrived.kind, Kind::Execute | Kind::Query) {
            self.last.clone_from(&arrived.sql);
        }
        self.expect(&arrived, counts);
        Ok(arrived)
    }

    /// What is under way, in words; `None` when nothing is.
    pub fn standing(&self) -> Option<String> {
        let words = self.last.as_deref().unwrap_or("nothing").split_whitespace();
        let mut last: String = words.collect::<Vec<_>>().join(" ");
        if let Some((at, _)) = last.char_indices().nth(SQL_CHARS_TOLD) {
            last.truncate(at);
            last.push('…');
        }
        let transaction = if self.in_transaction {
            ", in a transaction"
        } else {
            ""
        };
        let what = match (self.held > 0, self.pending.front()) {
            (true, _) => format!("is held at a gate with `{last}`{transaction}"),
            (
                _,
                Some(Pending {
                    kind: Kind::Execute | Kind::Query,
                    ..
                }),
            ) => {
                format!("waits for the server's answer to `{last}`{transaction}")
            }
            (_, Some(pending)) => format!(
                "waits for the server's answer to its {:?}{transaction}",
                pending.kind
            ),
            (_, None) if self.in_transaction => format!("is idle in transaction after `{last}`"),
            (_, None) => return None,
        };
        Some(format!("tap: connection {} {what}", self.connection))
    }

    /// The message that the next answer belongs to.
    pub fn answering(&mut self, tag: u8) -> Option<&mut Pending> {
        // Notices, changed parameters and notifications come at any time and belong to nobody.
        if matches!(tag, b'N' | b'S' | b'A') {
            None
        } else {
            self.pending.front_mut()
        }
    }

    /// Whether the next answer is the first of its round trip.
    pub fn begins_trip(&self) -> bool {
        !self.trip_begun
    }

    /// Whether the server will yet say that it is ready: with this the answers of a round trip are complete.
    pub fn ready_will_come(&self) -> bool {
        self.pending.iter().any(|pending| {
            matches!(
                pending.kind,
                Kind::Startup | Kind::Sync | Kind::Ping | Kind::Query | Kind::FunctionCall
            )
        })
    }

    /// A message of the server is passed on. `body` is complete if [`Session::reply_needs_body`] asked for it.
    pub fn reply(&mut self, tag: u8, body: &[u8], counts: &mut Counts) -> Result<(), FrameError> {
        let needs = Session::reply_needs_body(tag);
        let reply = if needs {
            Reply::decode(tag, body)?
        } else {
            Reply::Other(tag)
        };
        match &reply {
            Reply::CommandComplete(command) => match command.as_ref() {
                "BEGIN" | "START TRANSACTION" => counts.transactions += 1,
                "COMMIT" => counts.commits += 1,
                "ROLLBACK" => counts.rollbacks += 1,
                _ => {}
            },
            Reply::Error(ServerError { sqlstate, .. }) => {
                *counts.sqlstates.entry(sqlstate.clone()).or_default() += 1;
            }
            Reply::Ready(status) => self.transaction(*status != Transaction::None, counts),
            Reply::KeyData { pid, .. } => self.pid = Some(*pid),
            _ => {}
        }
        if tag == b'G' || tag == b'W' {
            // Syncs that came before the data are read, and ignored, as part of it.
            self.copying = true;
            self.pending.retain(|pending| pending.kind != Kind::Sync);
        }
        if self.answering(tag).is_some() {
            self.trip_begun = tag != b'Z';
        }
        if self
            .pending
            .front()
            .is_some_and(|front| front.kind.ends_with(tag))
        {
            self.answered(counts);
        } else if tag == b'E' {
            self.failed(counts);
        }
        Ok(())
    }

    /// The connection is over: nothing more will be answered.
    pub fn end(&mut self, counts: &mut Counts) {
        while !self.pending.is_empty() {
            self.answered(counts);
        }
        self.transaction(false, counts);
    }

    fn kind(&mut self, request: &Request<'_>) -> Kind {
        let kind = match request {
            Request::Sync if self.trip_unbegun => Kind::Ping,
            Request::Query { sql } if sql::split(sql).next().is_none() => Kind::Ping,
            _ => Kind::of(request),
        };
        self.trip_unbegun = matches!(kind, Kind::Sync | Kind::Ping | Kind::Query);
        kind
    }

    fn statement(&self, arrived: &Pending) -> Statement {
        Statement {
            connection: self.connection,
            sql: arrived.sql.clone().unwrap_or_default(),
            frame: self.frames,
            data: arrived.data,
        }
    }

    fn expect(&mut self, arrived: &Pending, counts: &mut Counts) {
        let counted = matches!(arrived.kind, Kind::Execute | Kind::Query);
        let unanswered = match arrived.kind {
            Kind::Sync | Kind::Ping if self.copying => true,
            Kind::Sync | Kind::Ping => {
                self.skipping = false;
                false
            }
            Kind::Parse | Kind::Bind | Kind::Describe | Kind::Execute | Kind::Close => self.skipping,
            Kind::Query | Kind::FunctionCall => false,
            _ => true,
        };
        if unanswered {
            counts.in_flight -= u64::from(counted);
            return;
        }
        self.pending.push_back(arrived.clone());
    }

    fn answered(&mut self, counts: &mut Counts) {
        if let Some(Pending {
            kind: Kind::Execute | Kind::Query,
            ..
        }) = self.pending.pop_front()
        {
            counts.in_flight -= 1;
        }
    }

    /// The server has refused the oldest message, and ignores what was sent after it up to the next Sync.
    fn failed(&mut self, counts: &mut Counts) {
        self.copying = false;
        match self.pending.front().map(|front| front.kind) {
            Some(Kind::Parse | Kind::Bind | Kind::Describe | Kind::Execute | Kind::Close) => {}
            _ => return,
        }
        while self
            .pending
            .front()
            .is_some_and(|front| !matches!(front.kind, Kind::Sync | Kind::Ping))
        {
            self.answered(counts);
        }
        self.skipping = self.pending.is_empty();
    }

    fn transaction(&mut self, open: bool, counts: &mut Counts) {
        match (self.in_transaction, open) {
            (false, true) => counts.transactions_open += 1,
            (true, false) => counts.transactions_open -= 1,
            _ => {}
        }
        self.in_transaction = open;
    }
}

#[cfg(test)]
mod tests;
