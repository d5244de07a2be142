//! The price service: a real HTTP server on the harness's runtime, which answers at once or holds a market's requests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use harness::{Failure, within};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::loopback::listen;
use crate::traffic::UNIT_CENTS;

/// What is known of one market's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub arrived: usize,
    pub answered: usize,
    /// Their client closed the connection before it had the answer.
    pub gone: usize,
    held: bool,
    failing: bool,
}

type Desk = Arc<watch::Sender<HashMap<String, Asked>>>;

/// A running price service; it ends when it is dropped.
pub struct Prices {
    address: SocketAddr,
    desk: Desk,
    serving: AbortHandle,
}

impl Prices {
    pub fn start(runtime: &Handle) -> Result<Prices, Failure> {
        let desk = Desk::default();
        let (listener, address) = listen(runtime)
            .map_err(|err| Failure::environment(format!("failed to listen on a loopback port: {err}")))?;
        let serving = runtime.spawn(accept(desk.clone(), listener)).abort_handle();
        Ok(Prices {
            address,
            desk,
            serving,
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers nobody in that market until it is released.
    pub fn hold(&self, market: &str) {
        note(&self.desk, market, |asked| asked.held = true);
    }

    pub fn release(&self, market: &str) {
        note(&self.desk, market, |asked| asked.held = false);
    }

    /// Answers everybody in that market with an error.
    pub fn fail(&self, market: &str) {
        note(&self.desk, market, |asked| asked.failing = true);
    }

    pub async fn until(
        &self,
        market: &str,
        what: &str,
        deadline: Duration,
        reached: impl Fn(Asked) -> bool,
    ) -> Result<(), Failure> {
        let mut desk = self.desk.subscribe();
        let waiting = async {
            let reached = desk.wait_for(|desk| reached(desk.get(market).copied().unwrap_or_default()));
            reached.await.map(|_| ()).ok();
        };
        within(deadline, what, waiting).await
    }
}

impl Drop for Prices {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn note(desk: &Desk, market: &str, change: impl FnOnce(&mut Asked)) {
    desk.send_modify(|desk| change(desk.entry(market.to_owned()).or_default()));
}

async fn accept(desk: Desk, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(serve(desk.clone(), stream));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(desk: Desk, stream: TcpStream) {
    let service = service_fn(move |request: Request<Incoming>| {
        let desk = desk.clone();
        async move {
            let market = request.uri().path().trim_start_matches("/prices/").to_owned();
            let mut asking = Asking::arrive(desk.clone(), market.clone());
            let mut held = desk.subscribe();
            held.wait_for(|desk| !desk.get(&market).is_some_and(|asked| asked.held))
                .await
                .ok();
            asking.answered = true;
            let price = Bytes::from(format!(r#"{{"unit_cents":{UNIT_CENTS}}}"#));
            let failing = desk.borrow().get(&market).is_some_and(|asked| asked.failing);
            Ok::<_, std::convert::Infallible>(match failing {
                true => answer(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()),
                false => answer(StatusCode::OK, price),
            })
        }
    });
    // An error is a connection that its client has closed.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer
}

/// A request that is waiting for its answer. hyper drops it when its client has closed the connection.
struct Asking {
    desk: Desk,
    market: String,
    answered: bool,
}

impl Asking {
    fn arrive(desk: Desk, market: String) -> Asking {
        note(&desk, &market, |asked| asked.arrived += 1);
        Asking {
            desk,
            market,
            answered: false,
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        note(&self.desk, &self.market, |asked| match self.answered {
            true => asked.answered += 1,
            false => asked.gone += 1,
        });
    }
}
