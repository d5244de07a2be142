//! A check's own node: its taps, and the grader's way past them. And a bell at the door of one that is not there yet.

use super::frame::{self, Session};
use super::tap::ZooKeeperTap;
use crate::Failure;
use crate::tap::Front;
use bytes::BytesMut;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// A node that one check has for itself, with a tap in front of it.
///
/// Cannot see connections that are made past the taps.
#[derive(Debug)]
pub struct ZooKeeper {
    host: String,
    port: u16,
    harness: Handle,
    tap: Arc<ZooKeeperTap>,
}

impl ZooKeeper {
    /// Starts a tap on `harness` in front of an empty node.
    ///
    /// # Errors
    /// Environment: no port is to be had.
    pub fn at(host: &str, port: u16, harness: &Handle) -> Result<ZooKeeper, Failure> {
        Ok(ZooKeeper {
            host: host.to_owned(),
            port,
            harness: harness.clone(),
            tap: start(harness, host, port)?,
        })
    }

    pub fn tap(&self) -> &Arc<ZooKeeperTap> {
        &self.tap
    }

    /// Another front of the same node, as another instance of a service needs it.
    ///
    /// # Errors
    /// As [`ZooKeeper::at`].
    pub fn another_tap(&self) -> Result<Arc<ZooKeeperTap>, Failure> {
        start(&self.harness, &self.host, self.port)
    }

    /// Ends every session that was opened through `tap`, as if its time were over, past the tap. Its owner hears of that
    /// with its next sign of life.
    ///
    /// # Errors
    /// Environment: the node does not answer.
    pub async fn end_sessions(&self, tap: &ZooKeeperTap) -> Result<(), Failure> {
        // Its owner would take it up again, and the node would hang up on us.
        let _alone = tap.black_hole();
        for session in tap.sessions() {
            self.end(&session)
                .await
                .map_err(|error| Failure::environment(format!("failed to end a session: {error}")))?;
        }
        Ok(())
    }

    async fn end(&self, session: &Session) -> io::Result<()> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.write_all(&frame::connecting(session)).await?;
        let mut said = BytesMut::new();
        let greeting = loop {
            if let Some(greeting) = frame::take(&mut said)? {
                break greeting;
            }
            if stream.read_buf(&mut said).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        // One that is over already is answered with another one's number, which is 0.
        if frame::session(&greeting).is_some() {
            stream.write_all(&frame::closing()).await?;
            stream.read_to_end(&mut Vec::new()).await?;
        }
        Ok(())
    }
}

fn start(harness: &Handle, host: &str, port: u16) -> Result<Arc<ZooKeeperTap>, Failure> {
    ZooKeeperTap::start(harness, host, port)
        .map(Arc::new)
        .map_err(|error| Failure::environment(format!("failed to start a tap: {error}")))
}

/// A port at which nobody answers. It tells whether anybody wants the server that would be there, where few do, and it
/// takes long to start.
#[derive(Debug)]
pub struct Doorbell {
    rung: Arc<watch::Sender<bool>>,
    front: Front,
}

impl Doorbell {
    /// Opens the port on `runtime`.
    ///
    /// # Errors
    /// Environment: no port is to be had.
    pub fn hang(runtime: &Handle) -> Result<Doorbell, Failure> {
        let rung = Arc::new(watch::Sender::new(false));
        let ringing = rung.clone();
        let front = Front::open(runtime, |_| {
            move |visitor| {
                ringing.send_replace(true);
                async move {
                    // Whoever has rung waits until there is no bell any more.
                    let _visitor = visitor;
                    std::future::pending().await
                }
            }
        });
        let front = front.map_err(|error| Failure::environment(format!("failed to open a port: {error}")))?;
        Ok(Doorbell { rung, front })
    }

    /// What the subject is given.
    pub fn connect_string(&self) -> String {
        format!("127.0.0.1:{}", self.front.port())
    }

    /// Waits until somebody has come.
    pub async fn rung(&self) {
        // The sender lives as long as the bell.
        self.rung.subscribe().wait_for(|rung| *rung).await.ok();
    }
}
