//! What every tap is from outside: a port on which somebody is served.

use std::io;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// A loopback port. Dropping it closes the port and breaks what is connected.
#[derive(Debug)]
pub(crate) struct Front {
    port: u16,
    accepting: JoinHandle<()>,
}

impl Front {
    /// Serves each client in a task of its own, on `runtime`. `serve` is told the port, and says how.
    pub fn open<S, F>(runtime: &Handle, serve: impl FnOnce(u16) -> S) -> io::Result<Front>
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        // A socket's readiness is reported on the runtime that it was made on.
        let _inside = runtime.enter();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let accepting = runtime.spawn(accept(TcpListener::from_std(listener)?, serve(port)));
        Ok(Front { port, accepting })
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    // Dropped with this task, which ends every connection's.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    connections.spawn(serve(client));
                }
                // Out of descriptors, most likely: let the connections that are there go on and free some.
                Err(_) => tokio::task::yield_now().await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Waits until that is so, asked again each time somebody is notified.
pub(crate) async fn reached(changed: &Notify, is_so: impl Fn() -> bool) {
    loop {
        let mut changed = std::pin::pin!(changed.notified());
        changed.as_mut().enable();
        if is_so() {
            return;
        }
        changed.await;
    }
}
