//! A check's own node: its taps, and the grader's way past them.

use super::tap::EtcdTap;
use crate::Failure;
use crate::tap::http::Head;
use bytes::BytesMut;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// A node that one check has for itself, with a tap in front of it.
///
/// Cannot see connections that are made past the taps: etcd counts none.
#[derive(Debug)]
pub struct Etcd {
    host: String,
    port: u16,
    harness: Handle,
    tap: Arc<EtcdTap>,
}

impl Etcd {
    /// Starts a tap on `harness` in front of an empty node.
    ///
    /// # Errors
    /// Environment: no port is to be had.
    pub fn at(host: &str, port: u16, harness: &Handle) -> Result<Etcd, Failure> {
        Ok(Etcd {
            host: host.to_owned(),
            port,
            harness: harness.clone(),
            tap: start(harness, host, port)?,
        })
    }

    /// What the subject is given: the tap's address.
    pub fn url(&self) -> String {
        self.tap.url()
    }

    pub fn tap(&self) -> &Arc<EtcdTap> {
        &self.tap
    }

    /// Another front of the same node, as another instance of a service needs it.
    ///
    /// # Errors
    /// As [`Etcd::at`].
    pub fn another_tap(&self) -> Result<Arc<EtcdTap>, Failure> {
        start(&self.harness, &self.host, self.port)
    }

    /// Ends every lease there is, as if its time were over, past the taps. How many there were.
    ///
    /// # Errors
    /// Environment: the node does not answer.
    pub async fn revoke_leases(&self) -> Result<usize, Failure> {
        let broken = |error: io::Error| Failure::environment(format!("failed to ask etcd: {error}"));
        let found = self.ask("/v3/lease/leases", &json!({})).await.map_err(broken)?;
        let leases = found["leases"].as_array().cloned().unwrap_or_default();
        for lease in &leases {
            // One that has ended in the meantime is an error, and as good.
            self.ask("/v3/lease/revoke", &json!({ "ID": lease["ID"] }))
                .await
                .map_err(broken)?;
        }
        Ok(leases.len())
    }

    /// Asks the node's gateway, past the taps.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn ask(&self, path: &str, body: &Value) -> io::Result<Value> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await?;
        let mut buf = BytesMut::new();
        loop {
            if let Some(head) = Head::parse(&buf)?
                && let Some(len) = head.message_len(&buf)?
            {
                return Ok(serde_json::from_slice(&buf[head.len..len]).unwrap_or_default());
            }
            if stream.read_buf(&mut buf).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn start(harness: &Handle, host: &str, port: u16) -> Result<Arc<EtcdTap>, Failure> {
    EtcdTap::start(harness, host, port)
        .map(Arc::new)
        .map_err(|error| Failure::environment(format!("failed to start a tap: {error}")))
}
