//! As much HTTP as the daemon's API needs: one request per connection, answers whole or piece by piece.
//!
//! A container client of the package registry brings some hundred crates (TLS among them, for a socket of this machine)
//! and a minute of compiling before the first grade.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::place::{Place, Stream};

/// How long the daemon may take to answer; removing a container with a full disk behind it takes its time.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// More than any answer that is read whole.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// An answer whose head has been read.
pub(super) struct Answer {
    pub(super) status: u16,
    stream: BufReader<Box<dyn Stream>>,
    length: Length,
}

enum Length {
    Left(u64),
    Chunks,
    UntilClosed,
    Over,
}

/// Sends a request, with a body of JSON where there is one, and reads the head of the answer.
pub(super) async fn send(
    place: &Place,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> io::Result<Answer> {
    match body {
        Some(body) => {
            let headers = [headers, &[("Content-Type", "application/json")]].concat();
            send_bytes(place, method, path, &headers, body.to_string().as_bytes()).await
        }
        None => send_bytes(place, method, path, headers, b"").await,
    }
}

/// The same with a body of any kind.
pub(super) async fn send_bytes(
    place: &Place,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = place.connect().await?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    Answer::read(stream).await
}

impl Answer {
    async fn read(stream: Box<dyn Stream>) -> io::Result<Answer> {
        let mut stream = BufReader::new(stream);
        let first = line(&mut stream).await?;
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| {
                broken(format!(
                    "it answered `{}`",
                    first.chars().take(80).collect::<String>()
                ))
            })?;
        let mut length = Length::UntilClosed;
        loop {
            let header = line(&mut stream).await?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            let Some((name, value)) = header.split_once(':') else {
                continue;
            };
            match (name, value.trim()) {
                ("transfer-encoding", "chunked") => length = Length::Chunks,
                ("content-length", value) if !matches!(length, Length::Chunks) => {
                    let left = value
                        .parse()
                        .map_err(|_| broken(format!("a length of `{value}`")))?;
                    length = Length::Left(left);
                }
                _ => {}
            }
        }
        if matches!(status, 204 | 304) {
            length = Length::Over;
        }
        Ok(Answer {
            status,
            stream,
            length,
        })
    }

    /// The next piece of the body, as it comes; `None` at its end.
    pub(super) async fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.length {
            Length::Over | Length::Left(0) => Ok(None),
            Length::Left(left) => {
                let piece = self.some(left).await?;
                self.length = Length::Left(left - piece.len() as u64);
                if piece.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(Some(piece))
            }
            Length::UntilClosed => {
                let piece = self.some(u64::MAX).await?;
                Ok((!piece.is_empty()).then_some(piece))
            }
            Length::Chunks => {
                let size = line(&mut self.stream).await?;
                let digits = size.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(digits, 16)
                    .ok()
                    .filter(|size| *size <= ANSWER_BYTES_MAX)
                    .ok_or_else(|| broken(format!("a piece of `{digits}` bytes")))?;
                let mut piece = vec![0; size];
                self.stream.read_exact(&mut piece).await?;
                line(&mut self.stream).await?;
                if size == 0 {
                    self.length = Length::Over;
                    return Ok(None);
                }
                Ok(Some(piece))
            }
        }
    }

    /// What has come, at most `most` bytes; nothing at the end of the connection.
    async fn some(&mut self, most: u64) -> io::Result<Vec<u8>> {
        let come = self.stream.fill_buf().await?;
        let length = come.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let piece = come[..length].to_vec();
        self.stream.consume(length);
        Ok(piece)
    }

    /// The whole body.
    pub(super) async fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(broken(format!("an answer of more than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// Asks, and reads the whole answer: null when it has no body.
///
/// # Errors
/// What went wrong, in the daemon's words when it has any.
pub(super) async fn ask(
    place: &Place,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, String> {
    let work = async {
        let mut answer = send(place, method, path, &[], body).await?;
        Ok::<_, io::Error>((answer.status, answer.body().await?))
    };
    let (status, body) = match timeout(ANSWER_WITHIN, work).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
    };
    if status >= 400 {
        return Err(refusal(status, &body));
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body).map_err(|error| format!("an answer that is no JSON: {error}"))
}

/// The daemon's reason, one line.
pub(super) fn refusal(status: u16, body: &[u8]) -> String {
    let message = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|body| Some(body.get("message")?.as_str()?.trim().to_owned()));
    let reason = message.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
    match reason.lines().next() {
        Some(line) => line.to_owned(),
        None => format!("status {status}"),
    }
}

/// Fit for a part of a path or for a value of a query.
pub(super) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b':' | b'@' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

async fn line(stream: &mut BufReader<Box<dyn Stream>>) -> io::Result<String> {
    let mut line = Vec::new();
    (&mut *stream).take(16 << 10).read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use tokio::io::duplex;

    async fn read(said: &str) -> io::Result<(u16, String)> {
        let (ours, mut theirs) = duplex(7);
        let said = said.to_owned();
        tokio::spawn(async move { theirs.write_all(said.as_bytes()).await });
        let mut answer = Answer::read(Box::new(ours)).await?;
        let body = answer.body().await?;
        Ok((answer.status, String::from_utf8(body).unwrap()))
    }

    #[rstest]
    #[case::a_length("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more", 200, "hello")]
    #[case::pieces(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n",
        200,
        "hello, world"
    )]
    #[case::until_closed(
        "HTTP/1.0 404 Not Found\r\nServer: x\r\n\r\nno such image",
        404,
        "no such image"
    )]
    #[case::nothing("HTTP/1.1 204 No Content\r\n\r\n", 204, "")]
    #[case::an_empty_body("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n", 201, "")]
    #[tokio::test]
    async fn answers_are_read(#[case] said: &str, #[case] status: u16, #[case] body: &str) {
        assert_eq!(read(said).await.unwrap(), (status, body.to_owned()));
    }

    #[rstest]
    #[case::silence("")]
    #[case::another_protocol("SSH-2.0-OpenSSH\r\n\r\n")]
    #[case::half_a_head("HTTP/1.1 200 OK\r\nContent-Le")]
    #[case::half_a_body("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")]
    #[case::half_a_piece("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello")]
    #[case::a_piece_of_no_size("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")]
    #[case::a_huge_piece("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n")]
    #[case::a_strange_length("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n")]
    #[tokio::test]
    async fn what_is_no_answer_is_an_error(#[case] said: &str) {
        assert!(read(said).await.is_err());
    }

    #[rstest]
    #[case("{\"message\":\"No such image: x\\nmore\"}", "No such image: x")]
    #[case("page not found\n", "page not found")]
    #[case("", "status 500")]
    fn the_daemons_words_are_kept(#[case] body: &str, #[case] reason: &str) {
        assert_eq!(refusal(500, body.as_bytes()), reason);
    }

    #[test]
    fn filters_and_names_pass_unharmed() {
        assert_eq!(
            escaped("quay.io/etcd:v3 {\"a\":\"b&c\"}"),
            "quay.io/etcd:v3%20%7B%22a%22:%22b%26c%22%7D"
        );
    }
}
