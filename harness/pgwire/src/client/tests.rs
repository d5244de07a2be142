//! The client against a server that is a script of bytes.

use super::*;
use rstest::rstest;
use tokio::net::TcpListener;

/// Serves one connection: for each line of the script waits for as many bytes as the client's message has, then
/// answers. Returns the client's side of it.
async fn scripted(answers: Vec<&'static [u8]>) -> (Config, tokio::task::JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Config {
        host: "127.0.0.1".into(),
        port,
        user: "app".into(),
        password: "secret".into(),
        database: "db".into(),
    };
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        for answer in answers {
            let mut message = vec![0; 4096];
            let n = stream.read(&mut message).await.unwrap();
            message.truncate(n);
            heard.push(message);
            stream.write_all(answer).await.unwrap();
        }
        heard
    });
    (config, server)
}

const READY: &[u8] = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x07\0\0\0\x09Z\0\0\0\x05I";

#[tokio::test]
async fn a_password_is_given_when_asked_for() {
    let (config, server) = scripted(vec![b"R\0\0\0\x08\0\0\0\x03", READY]).await;
    let client = Client::connect(&config).await.unwrap();
    assert_eq!((client.pid(), client.key()), (7, 9));
    let heard = server.await.unwrap();
    assert_eq!(heard[1], b"p\0\0\0\x0bsecret\0");
}

#[tokio::test]
async fn rows_come_back_by_name_and_place() {
    let answer: &[u8] = b"T\0\0\0\x30\0\x02\
        a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0\
        bc\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0\
        N\0\0\0\x05\0D\0\0\0\x10\0\x02\0\0\0\x02hi\xff\xff\xff\xffC\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
    let mut answer = answer.to_vec();
    answer[4] = 4 + 2 + 20 + 21;
    let (config, _server) = scripted(vec![READY, Vec::leak(answer)]).await;
    let rows = Client::connect(&config)
        .await
        .unwrap()
        .query("SELECT")
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].get("a"), rows[0].text(0), rows[0].get("bc")),
        (Some("hi"), Some("hi"), None)
    );
    assert_eq!(rows[0].get("nosuch"), None);
}

#[tokio::test]
async fn an_error_leaves_the_session_usable() {
    let error = b"E\0\0\0\x13SERROR\0C42P01\0\0Z\0\0\0\x05I";
    let (config, _server) = scripted(vec![READY, error, b"C\0\0\0\x0fINSERT 0 3\0Z\0\0\0\x05I"]).await;
    let mut client = Client::connect(&config).await.unwrap();
    assert_eq!(
        client.query("SELECT nosuch").await.unwrap_err().sqlstate(),
        Some("42P01")
    );
    assert_eq!(client.execute("INSERT").await.unwrap(), 3);
}

#[tokio::test]
async fn a_command_dropped_half_way_is_not_answered_by_the_next() {
    let (config, _server) = scripted(vec![READY, b"N\0\0\0\x05\0", b""]).await;
    let mut client = Client::connect(&config).await.unwrap();
    {
        let mut pending = std::pin::pin!(client.query("SELECT 1"));
        std::future::poll_fn(|cx| {
            assert!(pending.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    }
    assert!(matches!(client.query("SELECT 2").await, Err(Error::Interrupted)));
}

#[rstest]
#[case::scram(b"R\0\0\0\x08\0\0\0\x0a", "asks for authentication method 10")]
#[case::http(b"HTTP/1.1 400 Bad Request", "not PostgreSQL's protocol")]
#[case::refused(b"E\0\0\0\x13SFATAL\0C53300\0\0", "(53300)")]
#[case::nothing(b"", "closed the connection")]
#[tokio::test]
async fn what_is_no_usable_server_is_told(#[case] answer: &'static [u8], #[case] words: &str) {
    let (config, _server) = scripted(vec![answer]).await;
    let error = Client::connect(&config).await.unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[rstest]
#[case("INSERT 0 3", 3)]
#[case("SELECT 12", 12)]
#[case("COPY 7", 7)]
#[case("BEGIN", 0)]
#[case("CREATE TABLE", 0)]
fn tags_end_with_the_number_of_rows(#[case] tag: &str, #[case] rows: u64) {
    assert_eq!(rows_of(tag), rows);
}
