use super::super::resp;
use super::*;

/// A conversation, written as on the wire: what the client sends, and what the server says.
struct Talk {
    session: Session,
    counts: Counts,
}

impl Talk {
    fn new() -> Talk {
        Talk {
            session: Session::new(1),
            counts: Counts::default(),
        }
    }

    fn client(&mut self, line: &str) -> &mut Self {
        let (args, _) = resp::command(format!("{line}\r\n").as_bytes()).unwrap().unwrap();
        let pending = self.session.arrived(args, &mut self.counts).unwrap();
        self.session.sent(&pending, &mut self.counts);
        self
    }

    /// Says it, and tells which command it answers.
    fn server(&mut self, bytes: &str) -> Option<String> {
        let (value, len) = resp::value(bytes.as_bytes()).unwrap().unwrap();
        assert_eq!(len, bytes.len());
        let answered = self
            .session
            .answering(&value)
            .map(|pending| pending.command.name.clone());
        self.session.replied(&value, &mut self.counts);
        answered
    }
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let mut talk = Talk::new();
    talk.client("GET a").client("set b 1").client("GET c");
    assert_eq!((talk.counts.in_flight, talk.counts.in_flight_peak), (3, 3));
    assert_eq!(talk.server("$1\r\n1\r\n").as_deref(), Some("GET"));
    assert_eq!(talk.server("+OK\r\n").as_deref(), Some("SET"));
    assert_eq!(talk.server("-WRONGTYPE no\r\n").as_deref(), Some("GET"));
    assert_eq!(talk.counts.in_flight, 0);
    assert_eq!(talk.counts.command("GET"), 2);
    assert_eq!(talk.counts.errors["WRONGTYPE"], 1);
}

#[test]
fn introductions_are_no_work_with_data() {
    let mut talk = Talk::new();
    talk.client("HELLO 3")
        .client("CLIENT SETINFO LIB-NAME x")
        .client("EVAL return 0");
    assert_eq!(talk.counts.commands, 1);
    assert_eq!(talk.counts.by_name.len(), 3);
}

#[test]
fn messages_to_a_subscriber_answer_nothing() {
    let mut talk = Talk::new();
    talk.client("SUBSCRIBE a b");
    assert_eq!(
        talk.server("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n")
            .as_deref(),
        Some("SUBSCRIBE")
    );
    assert_eq!(
        talk.server("*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n")
            .as_deref(),
        Some("SUBSCRIBE")
    );
    assert_eq!(talk.counts.in_flight, 0);
    talk.client("PING");
    assert_eq!(talk.server("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"), None);
    assert_eq!(
        talk.server("*2\r\n$4\r\npong\r\n$0\r\n\r\n").as_deref(),
        Some("PING")
    );
    talk.client("UNSUBSCRIBE");
    assert_eq!(talk.counts.in_flight, 1);
    talk.server("*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n");
    talk.server("*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n");
    assert_eq!((talk.counts.in_flight, talk.counts.pushes), (0, 1));
}

#[test]
fn version_three_confirms_subscriptions_as_if_unasked() {
    let mut talk = Talk::new();
    talk.client("SUBSCRIBE a").client("GET k");
    assert_eq!(talk.server(">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n"), None);
    assert_eq!(
        talk.server(">3\r\n+subscribe\r\n+a\r\n:1\r\n").as_deref(),
        Some("SUBSCRIBE")
    );
    assert_eq!(talk.server(">3\r\n+message\r\n+a\r\n+x\r\n"), None);
    assert_eq!(talk.server("_\r\n").as_deref(), Some("GET"));
    assert_eq!(talk.counts.pushes, 2);
}

#[test]
fn what_the_client_does_not_want_to_hear_is_not_waited_for() {
    let mut talk = Talk::new();
    talk.client("CLIENT REPLY SKIP").client("SET a 1").client("GET a");
    assert_eq!(talk.counts.in_flight, 1);
    assert_eq!(talk.server("$1\r\n1\r\n").as_deref(), Some("GET"));
    talk.client("CLIENT REPLY OFF").client("SET a 2");
    assert_eq!(talk.counts.in_flight, 0);
    talk.client("CLIENT REPLY ON");
    assert_eq!(talk.server("+OK\r\n").as_deref(), Some("CLIENT"));
}

#[test]
fn a_transaction_has_a_reply_for_each_command_and_one_for_all() {
    let mut talk = Talk::new();
    talk.client("MULTI").client("SET a 1").client("EXEC");
    for (reply, name) in [
        ("+OK\r\n", "MULTI"),
        ("+QUEUED\r\n", "SET"),
        ("*1\r\n+OK\r\n", "EXEC"),
    ] {
        assert_eq!(talk.server(reply).as_deref(), Some(name));
    }
}

#[test]
fn the_end_of_a_connection_answers_everything() {
    let mut talk = Talk::new();
    talk.client("GET a").client("GET b");
    talk.session.end(&mut talk.counts);
    assert_eq!(talk.counts.in_flight, 0);
}
