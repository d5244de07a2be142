//! The tap against a real ZooKeeper, and the bell in its place.

use std::io;
use std::time::Duration;

use harness::within;
use harness::zookeeper::{Doorbell, ZooKeeper};
use services::{Kind, Mode, Options, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// Liveness only.
const SOON: Duration = Duration::from_secs(10);

const CREATE: i32 = 1;
const EXISTS: i32 = 3;
const EPHEMERAL: i32 = 1;
const NO_NODE: i32 = -101;

async fn bed() -> (ZooKeeper, Server) {
    let options = Options {
        mode: Mode::Local,
        ..Options::default()
    };
    let server = services::start(Kind::ZooKeeper, &options, &[]).await.unwrap();
    let (host, port) = (server.endpoint.host().to_owned(), server.endpoint.port());
    (ZooKeeper::at(&host, port, &Handle::current()).unwrap(), server)
}

/// As much of a client as these tests need.
struct Client {
    stream: TcpStream,
    xid: i32,
    session: (i64, Vec<u8>),
}

impl Client {
    async fn connect(at: &str) -> io::Result<Client> {
        Client::with_session(at, (0, vec![0; 16])).await
    }

    async fn with_session(at: &str, (id, password): (i64, Vec<u8>)) -> io::Result<Client> {
        let mut client = Client {
            stream: TcpStream::connect(at).await?,
            xid: 0,
            session: (0, Vec::new()),
        };
        let hello = [
            &0_i32.to_be_bytes()[..],
            &0_i64.to_be_bytes(),
            &20_000_i32.to_be_bytes(),
            &id.to_be_bytes(),
            &buffer(&password),
            &[0],
        ];
        client.say(&hello.concat()).await?;
        let said = client.hear().await?;
        let id = i64::from_be_bytes(said[8..16].try_into().unwrap());
        client.session = (id, said[20..36].to_vec());
        Ok(client)
    }

    /// The error's number, 0 when there is none.
    async fn ask(&mut self, op: i32, rest: &[u8]) -> io::Result<i32> {
        self.xid += 1;
        let head = [self.xid.to_be_bytes(), op.to_be_bytes()].concat();
        self.say(&[&head, rest].concat()).await?;
        let said = self.hear().await?;
        Ok(i32::from_be_bytes(said[12..16].try_into().unwrap()))
    }

    async fn create(&mut self, path: &str, flags: i32) -> io::Result<i32> {
        let anybody = [
            &1_i32.to_be_bytes()[..],
            &31_i32.to_be_bytes(),
            &buffer(b"world"),
            &buffer(b"anyone"),
        ];
        let rest = [
            &buffer(path.as_bytes()),
            &buffer(b"data"),
            &anybody.concat(),
            &flags.to_be_bytes()[..],
        ];
        self.ask(CREATE, &rest.concat()).await
    }

    async fn is_there(&mut self, path: &str) -> bool {
        let rest = [buffer(path.as_bytes()), vec![0]].concat();
        match self.ask(EXISTS, &rest).await.unwrap() {
            0 => true,
            NO_NODE => false,
            other => panic!("the error {other}"),
        }
    }

    async fn say(&mut self, words: &[u8]) -> io::Result<()> {
        self.stream.write_all(&buffer(words)).await
    }

    async fn hear(&mut self) -> io::Result<Vec<u8>> {
        let mut words = vec![0; self.stream.read_u32().await? as usize];
        self.stream.read_exact(&mut words).await?;
        Ok(words)
    }
}

fn buffer(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

#[tokio::test]
async fn a_held_request_has_not_been_done_and_a_lost_answer_has() {
    let (zookeeper, server) = bed().await;
    let past = zookeeper.another_tap().unwrap();
    let mut other = Client::connect(&past.connect_string()).await.unwrap();
    let tap = zookeeper.tap();
    let gate = tap.hold_requests(|request| request.op == "create" && request.path == "/held");
    let mut client = Client::connect(&tap.connect_string()).await.unwrap();
    let held = tokio::spawn(async move { (client.create("/held", 0).await, client) });
    gate.until_waiting(1, SOON).await.unwrap();
    assert!(!other.is_there("/held").await);
    drop(gate);
    let (done, mut client) = held.await.unwrap();
    assert_eq!(done.unwrap(), 0);
    assert!(other.is_there("/held").await);

    let lost = tap.lose_reply(|request| request.op == "create");
    assert!(client.create("/lost", 0).await.is_err());
    assert_eq!(lost.matched(), 1);
    assert!(other.is_there("/lost").await);
    assert_eq!((tap.counts().questions, tap.counts().by_op["create"]), (2, 2));
    server.stop().await;
}

#[tokio::test]
async fn an_ended_session_takes_its_nodes_along_and_is_not_to_be_had_again() {
    let (zookeeper, server) = bed().await;
    let past = zookeeper.another_tap().unwrap();
    let mut other = Client::connect(&past.connect_string()).await.unwrap();
    let at = zookeeper.tap().connect_string();
    let mut client = Client::connect(&at).await.unwrap();
    assert_eq!(client.create("/mine", EPHEMERAL).await.unwrap(), 0);
    assert!(other.is_there("/mine").await);

    zookeeper.end_sessions(zookeeper.tap()).await.unwrap();
    assert!(!other.is_there("/mine").await);
    assert!(client.create("/again", 0).await.is_err());
    let session = client.session.clone();
    let over = Client::with_session(&at, session).await;
    assert!(over.is_err() || over.is_ok_and(|client| client.session.0 == 0));
    // That it is over already is no error, and other taps' sessions are left alone.
    zookeeper.end_sessions(zookeeper.tap()).await.unwrap();
    assert!(!other.is_there("/again").await);
    server.stop().await;
}

#[tokio::test]
async fn nothing_passes_a_black_hole_until_it_ends() {
    let (zookeeper, server) = bed().await;
    let past = zookeeper.another_tap().unwrap();
    let mut other = Client::connect(&past.connect_string()).await.unwrap();
    let mut client = Client::connect(&zookeeper.tap().connect_string()).await.unwrap();
    let hole = zookeeper.tap().black_hole();
    let mut making = tokio::spawn(async move { client.create("/late", 0).await });
    assert!(!other.is_there("/late").await);
    assert!(!making.is_finished());
    drop(hole);
    let made = within(SOON, "the answer", &mut making).await.unwrap();
    assert_eq!(made.unwrap().unwrap(), 0);
    assert!(other.is_there("/late").await);
    server.stop().await;
}

#[tokio::test]
async fn a_bell_is_rung_by_whoever_comes_and_nobody_answers() {
    let bell = Doorbell::hang(&Handle::current()).unwrap();
    let mut rung = Box::pin(bell.rung());
    tokio::select! {
        biased;
        () = &mut rung => panic!("nobody has come"),
        () = std::future::ready(()) => {}
    }
    let connecting = tokio::spawn({
        let at = bell.connect_string();
        async move { Client::connect(&at).await.is_err() }
    });
    within(SOON, "the bell", rung).await.unwrap();
    assert!(!connecting.is_finished());
    // Whoever waits is sent away with the bell.
    drop(bell);
    assert!(within(SOON, "the end", connecting).await.unwrap().unwrap());
}
