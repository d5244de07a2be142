//! Hand-written conversations.

use super::*;
use bytes::BytesMut;
use pgwire::{frame, write};
use rstest::rstest;

/// A session past its startup, its books, and the words to feed it.
struct Talk {
    session: Session,
    books: Books,
}

impl Talk {
    fn begin() -> Talk {
        let mut talk = Talk {
            session: Session::new(1),
            books: Books::default(),
        };
        talk.server(b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x07\0\0\0\x09Z\0\0\0\x05I");
        talk
    }

    fn client(&mut self, write: impl FnOnce(&mut BytesMut)) -> &mut Talk {
        let mut buf = BytesMut::new();
        write(&mut buf);
        while let Some(frame) = frame::next(&mut buf).unwrap() {
            self.session
                .request(frame.tag, &frame.body, &mut self.books)
                .unwrap();
        }
        self
    }

    fn server(&mut self, bytes: &[u8]) -> &mut Talk {
        let mut buf = BytesMut::from(bytes);
        while let Some(frame) = frame::next(&mut buf).unwrap() {
            self.session
                .reply(frame.tag, &frame.body, &mut self.books.counts)
                .unwrap();
        }
        self
    }

    fn sql(&self) -> Vec<&str> {
        self.books
            .log
            .iter()
            .map(|statement| statement.sql.as_ref())
            .collect()
    }
}

fn run(buf: &mut BytesMut, statement: &str) {
    write::bind(buf, "", statement, &[]);
    write::execute(buf, "", 0);
    write::sync(buf);
}

const SELECTED: &[u8] = b"2\0\0\0\x04D\0\0\0\x06\0\0C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
const ERROR: &[u8] = b"E\0\0\0\x13SERROR\0C23505\0\0";
const READY: &[u8] = b"Z\0\0\0\x05I";

#[test]
fn a_cached_statement_is_known_by_its_text() {
    let mut talk = Talk::begin();
    assert_eq!(talk.session.pid, Some(7));
    talk.client(|buf| {
        write::parse(buf, "s1", "SELECT id FROM t");
        write::sync(buf);
    });
    talk.server(b"1\0\0\0\x04Z\0\0\0\x05I");
    talk.client(|buf| run(buf, "s1"));
    assert_eq!(
        (talk.books.counts.in_flight, talk.books.counts.round_trips),
        (1, 2)
    );
    talk.server(SELECTED);
    talk.client(|buf| run(buf, "s1"));
    talk.server(SELECTED);
    assert_eq!(talk.sql(), ["SELECT id FROM t", "SELECT id FROM t"]);
    let counts = &talk.books.counts;
    assert_eq!((counts.parses, counts.executes, counts.statements), (1, 2, 2));
    assert_eq!(
        (counts.in_flight, counts.in_flight_peak, counts.client_frames),
        (0, 1, 8)
    );
    assert!(talk.session.begins_trip());
}

#[test]
fn after_an_error_the_rest_up_to_sync_is_not_answered() {
    let mut talk = Talk::begin();
    talk.client(|buf| {
        write::parse(buf, "", "INSERT INTO t VALUES (1)");
        run(buf, "");
        write::parse(buf, "", "SELECT 2 AS two");
        run(buf, "");
    });
    assert_eq!(talk.books.counts.in_flight, 2);
    talk.server(ERROR);
    assert_eq!(talk.books.counts.in_flight, 1);
    talk.server(READY);
    talk.server(b"1\0\0\0\x04");
    talk.server(SELECTED);
    assert_eq!(
        (talk.books.counts.in_flight, talk.books.counts.sqlstate("23505")),
        (0, 1)
    );
}

#[test]
fn what_is_sent_after_an_error_has_arrived_is_not_awaited() {
    let mut talk = Talk::begin();
    talk.client(|buf| write::parse(buf, "", "SELECT nosuch"))
        .server(ERROR);
    talk.client(|buf| run(buf, ""));
    assert_eq!((talk.books.counts.in_flight, talk.books.counts.executes), (0, 1));
    talk.server(READY);
    assert!(!talk.session.ready_will_come());
}

#[test]
fn transactions_are_followed_by_the_servers_word() {
    let mut talk = Talk::begin();
    talk.client(|buf| write::query(buf, "BEGIN"))
        .server(b"C\0\0\0\x0aBEGIN\0Z\0\0\0\x05T");
    assert_eq!(
        (
            talk.books.counts.transactions,
            talk.books.counts.transactions_open
        ),
        (1, 1)
    );
    talk.client(|buf| write::query(buf, "INSERT INTO t VALUES (1)"))
        .server(ERROR);
    talk.server(b"Z\0\0\0\x05E");
    assert_eq!(talk.books.counts.transactions_open, 1);
    talk.client(|buf| write::query(buf, "COMMIT"))
        .server(b"C\0\0\0\x0dROLLBACK\0Z\0\0\0\x05I");
    let counts = &talk.books.counts;
    assert_eq!(
        (counts.commits, counts.rollbacks, counts.transactions_open),
        (0, 1, 0)
    );
    assert_eq!((counts.simple_queries, counts.statements), (3, 1));
}

#[test]
fn a_simple_query_may_hold_several_statements() {
    let mut talk = Talk::begin();
    talk.client(|buf| write::query(buf, "BEGIN; UPDATE t SET a = ';'; SELECT 2 AS two; COMMIT"));
    assert_eq!(
        talk.sql(),
        ["BEGIN", "UPDATE t SET a = ';'", "SELECT 2 AS two", "COMMIT"]
    );
    assert_eq!(
        (talk.books.counts.statements, talk.books.counts.in_flight),
        (2, 1)
    );
    talk.server(b"C\0\0\0\x0aBEGIN\0C\0\0\0\x0dUPDATE 1\0C\0\0\0\x0dSELECT 1\0C\0\0\0\x0bCOMMIT\0");
    assert_eq!(talk.books.counts.in_flight, 1);
    talk.server(READY);
    assert_eq!(
        (
            talk.books.counts.in_flight,
            talk.books.counts.transactions,
            talk.books.counts.commits
        ),
        (0, 1, 1)
    );
}

#[test]
fn fetching_in_pieces_is_one_statement() {
    let mut talk = Talk::begin();
    talk.client(|buf| {
        write::parse(buf, "", "SELECT id FROM t");
        write::bind(buf, "p", "", &[]);
        write::execute(buf, "p", 1);
        write::sync(buf);
    });
    talk.server(b"1\0\0\0\x042\0\0\0\x04D\0\0\0\x06\0\0s\0\0\0\x04");
    assert_eq!(talk.books.counts.in_flight, 0);
    talk.server(READY);
    talk.client(|buf| {
        write::execute(buf, "p", 0);
        write::sync(buf);
    });
    assert_eq!((talk.books.counts.executes, talk.books.counts.statements), (2, 1));
}

/// A driver that sends Sync right after the Execute of a COPY: the server reads it as part of the data.
#[test]
fn a_sync_inside_a_copy_is_not_awaited() {
    let mut talk = Talk::begin();
    talk.client(|buf| {
        write::parse(buf, "", "COPY t FROM STDIN");
        run(buf, "");
    });
    talk.server(b"1\0\0\0\x042\0\0\0\x04G\0\0\0\x07\0\0\0");
    talk.client(|buf| {
        write::copy_data(buf, b"1\n");
        write::copy_done(buf);
        write::sync(buf);
    });
    talk.server(b"C\0\0\0\x0bCOPY 1\0Z\0\0\0\x05I");
    assert!(!talk.session.ready_will_come());
    assert_eq!(talk.books.counts.in_flight, 0);
}

#[test]
fn what_nobody_asked_for_belongs_to_nobody() {
    let mut talk = Talk::begin();
    talk.client(|buf| run(buf, "nosuch"));
    assert!(talk.session.answering(b'N').is_none());
    assert!(talk.session.answering(b'A').is_none());
    assert_eq!(
        talk.session.answering(b'E').map(|pending| pending.kind),
        Some(Kind::Bind)
    );
    talk.server(b"N\0\0\0\x05\0S\0\0\0\x08a\0b\0");
    assert!(talk.session.begins_trip());
}

#[test]
fn the_end_of_a_connection_leaves_nothing_in_flight() {
    let mut talk = Talk::begin();
    talk.client(|buf| write::query(buf, "BEGIN"))
        .server(b"C\0\0\0\x0aBEGIN\0Z\0\0\0\x05T");
    talk.client(|buf| write::query(buf, "SELECT pg_sleep(60)"));
    talk.session.end(&mut talk.books.counts);
    assert_eq!(
        (talk.books.counts.in_flight, talk.books.counts.transactions_open),
        (0, 0)
    );
}

#[test]
fn pings_are_told_from_work() {
    let mut talk = Talk::begin();
    talk.client(write::sync).server(READY);
    talk.client(|buf| write::query(buf, ""))
        .server(b"I\0\0\0\x04Z\0\0\0\x05I");
    talk.client(|buf| run(buf, "s")).client(write::sync);
    assert_eq!(
        talk.session.answering(b'2').map(|pending| pending.kind),
        Some(Kind::Bind)
    );
    talk.server(SELECTED);
    assert_eq!(
        talk.session.answering(b'Z').map(|pending| pending.kind),
        Some(Kind::Ping)
    );
    talk.server(READY);
    let counts = &talk.books.counts;
    assert_eq!(
        (
            counts.pings,
            counts.round_trips,
            counts.simple_queries,
            counts.in_flight
        ),
        (3, 1, 0, 0)
    );
}

#[rstest]
#[case::query(b'Q', b"SELECT 1")]
#[case::parse(b'P', b"s")]
#[case::bind(b'B', b"\0s")]
#[case::execute(b'E', b"\0")]
fn a_message_cut_short_is_refused_and_not_counted(#[case] tag: u8, #[case] body: &[u8]) {
    let mut talk = Talk::begin();
    assert!(talk.session.request(tag, body, &mut talk.books).is_err());
    assert_eq!(talk.books.counts.client_frames, 0);
}
