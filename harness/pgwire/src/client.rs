//! A small client of the simple protocol.
//!
//! For administration, setup and evidence: one command at a time, everything as text, notices ignored. It speaks to
//! servers that trust it or that ask for a password in clear text, over loopback without TLS.

use crate::frame::{self, Frame, FrameError};
use crate::reply::{self, Authentication, Reply, ServerError};
use crate::write;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::{fmt, io};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How much of a COPY goes into one message.
const COPY_CHUNK: usize = 64 * 1024;

/// Where a server is and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    pub database: String,
}

/// One session. Dropping it closes the socket, upon which the server ends the session.
///
/// A call whose future is dropped half-way leaves replies unread, so later calls fail with [`Error::Interrupted`].
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buf: BytesMut,
    pid: i32,
    key: i32,
    /// Set while a command is under way.
    busy: bool,
}

/// A row as text.
#[derive(Debug, Clone)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Option<String>>,
}

/// Why a call failed.
#[derive(Debug)]
pub enum Error {
    /// The connection could not be made, or broke.
    Io(io::Error),
    /// The other side does not speak PostgreSQL.
    Protocol(FrameError),
    /// The server said no. The session is ready for the next command.
    Server(Box<ServerError>),
    /// The server asks for something that this client can't do.
    Unsupported(String),
    /// An earlier call was dropped half-way.
    Interrupted,
}

impl Client {
    /// Connects and waits until the server is ready.
    pub async fn connect(config: &Config) -> Result<Client, Error> {
        let stream = TcpStream::connect((config.host.as_str(), config.port)).await?;
        stream.set_nodelay(true)?;
        let mut client = Client {
            stream,
            buf: BytesMut::with_capacity(8192),
            pid: 0,
            key: 0,
            busy: true,
        };
        let mut out = BytesMut::new();
        write::startup(
            &mut out,
            &[
                ("user", &config.user),
                ("database", &config.database),
                ("client_encoding", "UTF8"),
                ("application_name", "grader"),
            ],
        );
        client.stream.write_all(&out).await?;
        client.greet(&config.password).await?;
        client.busy = false;
        Ok(client)
    }

    /// The process id of the session's server process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The secret that a cancel request for this session must carry.
    pub fn key(&self) -> i32 {
        self.key
    }

    /// Runs one or more statements; returns the rows of all of them in order.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        Ok(self.command(sql, None).await?.0)
    }

    /// Runs one or more statements; returns how many rows they affected or returned, all together.
    pub async fn execute(&mut self, sql: &str) -> Result<u64, Error> {
        Ok(self.command(sql, None).await?.1)
    }

    /// Runs a `COPY … FROM STDIN` with `data` in the format that the statement names; returns the rows copied.
    pub async fn copy_in(&mut self, sql: &str, data: &[u8]) -> Result<u64, Error> {
        Ok(self.command(sql, Some(data)).await?.1)
    }

    /// Says goodbye and waits until the server has closed the session.
    pub async fn close(mut self) -> Result<(), Error> {
        let mut out = BytesMut::new();
        write::terminate(&mut out);
        self.stream.write_all(&out).await?;
        loop {
            self.buf.clear();
            if self.stream.read_buf(&mut self.buf).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn greet(&mut self, password: &str) -> Result<(), Error> {
        loop {
            let frame = self.next().await?;
            match Reply::decode(frame.tag, &frame.body)? {
                Reply::Authentication(Authentication::CleartextPassword) => {
                    let mut out = BytesMut::new();
                    write::password(&mut out, password);
                    self.stream.write_all(&out).await?;
                }
                Reply::Authentication(Authentication::Other(method)) => {
                    return Err(Error::Unsupported(format!("authentication method {method}")));
                }
                Reply::KeyData { pid, key } => (self.pid, self.key) = (pid, key),
                Reply::Error(error) => return Err(Error::Server(Box::new(error))),
                Reply::Ready(_) => return Ok(()),
                _ => {}
            }
        }
    }

    async fn command(&mut self, sql: &str, mut copy: Option<&[u8]>) -> Result<(Vec<Row>, u64), Error> {
        if std::mem::replace(&mut self.busy, true) {
            return Err(Error::Interrupted);
        }
        let mut out = BytesMut::new();
        write::query(&mut out, sql);
        self.stream.write_all(&out).await?;

        let (mut rows, mut affected) = (Vec::new(), 0);
        let mut columns: Arc<[String]> = Arc::new([]);
        let mut failure = None;
        loop {
            let Frame { tag, body } = self.next().await?;
            match Reply::decode(tag, &body)? {
                Reply::RowDescription(names) => columns = names.into_iter().map(String::from).collect(),
                Reply::DataRow => rows.push(Row::decode(&columns, &body)?),
                Reply::CommandComplete(tag) => affected += rows_of(&tag),
                Reply::CopyIn => self.send_copy(copy.take()).await?,
                // The first error is the cause.
                Reply::Error(error) => failure = failure.or(Some(error)),
                Reply::Ready(_) => break,
                _ => {}
            }
        }
        self.busy = false;
        match failure {
            Some(error) => Err(Error::Server(Box::new(error))),
            None => Ok((rows, affected)),
        }
    }

    async fn send_copy(&mut self, data: Option<&[u8]>) -> Result<(), Error> {
        let mut out = BytesMut::new();
        match data {
            Some(data) => {
                for chunk in data.chunks(COPY_CHUNK) {
                    out.clear();
                    write::copy_data(&mut out, chunk);
                    self.stream.write_all(&out).await?;
                }
                out.clear();
                write::copy_done(&mut out);
            }
            None => write::copy_fail(&mut out, "no data was given for this COPY"),
        }
        Ok(self.stream.write_all(&out).await?)
    }

    async fn next(&mut self) -> Result<Frame, Error> {
        loop {
            if let Some(frame) = frame::next(&mut self.buf)? {
                return Ok(frame);
            }
            if self.stream.read_buf(&mut self.buf).await? == 0 {
                return Err(Error::Io(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server closed the connection",
                )));
            }
        }
    }
}

/// Asks the server to cancel what a session is doing, on a connection of its own, and waits until the server has
/// taken note (it closes that connection).
pub async fn cancel(host: &str, port: u16, pid: i32, key: i32) -> Result<(), Error> {
    let mut stream = TcpStream::connect((host, port)).await?;
    let mut out = BytesMut::new();
    write::cancel(&mut out, pid, key);
    stream.write_all(&out).await?;
    while stream.read_buf(&mut out).await? > 0 {}
    Ok(())
}

impl Row {
    /// The column of that name; `None` when it is NULL or when there is no such column.
    pub fn get(&self, column: &str) -> Option<&str> {
        self.text(self.columns.iter().position(|name| name == column)?)
    }

    /// The column at that place, from 0; `None` when it is NULL or when there is no such column.
    pub fn text(&self, index: usize) -> Option<&str> {
        self.values.get(index)?.as_deref()
    }

    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    fn decode(columns: &Arc<[String]>, body: &Bytes) -> Result<Row, FrameError> {
        let text = |field: Option<&[u8]>| field.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let values = reply::fields(body)?.into_iter().map(text).collect();
        Ok(Row {
            columns: columns.clone(),
            values,
        })
    }
}

/// The number at the end of a command's tag: `INSERT 0 3` is 3, `BEGIN` is 0.
fn rows_of(tag: &str) -> u64 {
    tag.rsplit(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

impl Error {
    /// The server's five characters, when it was the server that said no.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Error::Server(error) => Some(&error.sqlstate),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => write!(f, "connection to PostgreSQL: {error}"),
            Error::Protocol(error) => write!(f, "not PostgreSQL's protocol: {error}"),
            Error::Server(error) => write!(f, "PostgreSQL: {error}"),
            Error::Unsupported(what) => write!(f, "the server asks for {what}, which this client lacks"),
            Error::Interrupted => write!(f, "an earlier command on this session was dropped half-way"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Error {
        Error::Protocol(error)
    }
}

#[cfg(test)]
mod tests;
