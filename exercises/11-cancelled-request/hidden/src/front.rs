//! In front of the tap: cancel requests, each a connection of its own, can be held here. Everything else is passed on.

use std::sync::Arc;

use harness::Failure;
use harness::postgres::PgTap;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::loopback::listen;

/// The code that stands in a cancel request after its length, in place of the protocol's version.
const CANCEL_CODE: [u8; 4] = 80_877_102_u32.to_be_bytes();

#[derive(Clone, Copy, Debug, Default)]
struct State {
    held: bool,
    waiting: usize,
}

/// A running front; it ends when it is dropped.
pub struct Front {
    url: String,
    state: Arc<watch::Sender<State>>,
    accepting: AbortHandle,
}

impl Front {
    pub fn start(runtime: &Handle, tap: &PgTap) -> Result<Front, Failure> {
        let broken = |err| Failure::environment(format!("failed to listen on a loopback port: {err}"));
        let (listener, address) = listen(runtime).map_err(broken)?;
        let state = Arc::new(watch::Sender::new(State::default()));
        let config = tap.config();
        let url = tap.url().replace(
            &format!("@{}:{}/", config.host, config.port),
            &format!("@{address}/"),
        );
        let accepting = runtime.spawn(accept(listener, config.port, state.clone()));
        Ok(Front {
            url,
            state,
            accepting: accepting.abort_handle(),
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn hold(&self) {
        self.state.send_modify(|state| state.held = true);
    }

    pub fn open(&self) {
        self.state.send_modify(|state| state.held = false);
    }

    /// Cancel requests that are held now.
    pub fn waiting(&self) -> usize {
        self.state.borrow().waiting
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, port: u16, state: Arc<watch::Sender<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                connections.spawn(pass(client, port, state.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass(mut client: TcpStream, port: u16, state: Arc<watch::Sender<State>>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    if is_cancel(&client).await? {
        state.send_modify(|state| state.waiting += 1);
        state.subscribe().wait_for(|state| !state.held).await.ok();
        state.send_modify(|state| state.waiting -= 1);
    }
    let mut tap = TcpStream::connect(("127.0.0.1", port)).await?;
    tap.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut tap).await?;
    Ok(())
}

async fn is_cancel(client: &TcpStream) -> std::io::Result<bool> {
    let mut head = [0; 8];
    // A request for TLS, a startup packet or a cancel request: each comes in one write.
    let n = client.peek(&mut head).await?;
    Ok(n == head.len() && head[4..] == CANCEL_CODE)
}
