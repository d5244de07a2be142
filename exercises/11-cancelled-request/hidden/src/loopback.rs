//! Listeners of the grader's own, on the harness's runtime.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::runtime::Handle;

/// A listener on a free loopback port.
pub(crate) fn listen(runtime: &Handle) -> std::io::Result<(TcpListener, SocketAddr)> {
    // A socket's readiness is reported on the runtime that it was made on.
    let _inside = runtime.enter();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, address))
}
