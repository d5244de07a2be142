//! The HTTP server in front of the service, which knows whose request is being handled.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use harness::Failure;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

type Presence = Arc<watch::Sender<HashMap<String, bool>>>;

/// A running server; it ends when this is dropped.
pub struct Door {
    address: SocketAddr,
    presence: Presence,
    serving: AbortHandle,
}

impl Door {
    /// Serves on the runtime that this is called on.
    pub async fn open(app: Router) -> Result<Door, Failure> {
        let broken = |err| Failure::environment(format!("failed to listen on a loopback port: {err}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(broken)?;
        let address = listener.local_addr().map_err(broken)?;
        let presence = Presence::default();
        let watched = app.layer(from_fn({
            let presence = presence.clone();
            move |request: Request, next: Next| {
                let presence = presence.clone();
                async move {
                    // Dropped after the handler's future, whose destructors have run by then.
                    let _inside = Inside::enter(presence, &request);
                    next.run(request).await
                }
            }
        }));
        let serving = tokio::spawn(async move { axum::serve(listener, watched).await }).abort_handle();
        Ok(Door {
            address,
            presence,
            serving,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the handler of that report's request has been answered or dropped. `false` when that does not happen:
    /// the server may not have been able to see that the client left.
    pub async fn until_left(&self, report: &str, deadline: Duration) -> bool {
        let mut presence = self.presence.subscribe();
        let left = presence.wait_for(|presence| presence.get(report) == Some(&false));
        tokio::time::timeout(deadline, left).await.is_ok()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A request that is being handled.
struct Inside(Presence, String);

impl Inside {
    fn enter(presence: Presence, request: &Request) -> Inside {
        let query = request.uri().query().unwrap_or_default();
        let id = query.split('&').find_map(|pair| pair.strip_prefix("id="));
        let id = id.unwrap_or_default().to_owned();
        presence.send_modify(|presence| {
            presence.insert(id.clone(), true);
        });
        Inside(presence, id)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.send_modify(|presence| {
            presence.insert(std::mem::take(&mut self.1), false);
        });
    }
}
