//! The payment provider: a real HTTP server on the harness's runtime, with a book of what it charged.
//!
//! It speaks the protocol that the provided client documents, for one of its two acquirers. A check scripts what
//! becomes of an order's successive charge requests; what is not scripted is charged and answered at once. Like a real
//! provider it goes on with a request whose client has gone: only the script decides whether money moves.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use harness::sweep::{Fate, Points};
use harness::{Failure, within};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::turn::{Effect, Turn};
pub use book::{Book, Charged};

mod book;

/// The two acquirers of the provider's documentation. The merchant decides which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquirer {
    /// One charge per key, however often it is asked.
    OncePerKey,
    /// A charge per request.
    EveryRequest,
}

pub const ACQUIRERS: [Acquirer; 2] = [Acquirer::OncePerKey, Acquirer::EveryRequest];

impl Acquirer {
    /// A merchant whose charges go through this acquirer. Any other merchant's go through the first.
    pub fn merchant(self) -> &'static str {
        match self {
            Acquirer::OncePerKey => "lantern-books",
            Acquirer::EveryRequest => "harbour-tea",
        }
    }

    pub fn of(merchant: &str) -> Acquirer {
        match merchant == Acquirer::EveryRequest.merchant() {
            true => Acquirer::EveryRequest,
            false => Acquirer::OncePerKey,
        }
    }
}

/// What becomes of an order's charge where no script says it.
type Otherwise = dyn Fn(&str) -> Turn + Send + Sync;

#[derive(Default)]
struct Desk {
    /// By door.
    points: Mutex<HashMap<String, Points>>,
    book: watch::Sender<Book>,
    scripts: Mutex<HashMap<String, VecDeque<Turn>>>,
    otherwise: Mutex<Option<Arc<Otherwise>>>,
    /// The errors with which the next look-ups are answered, by order.
    failing_lookups: Mutex<HashMap<String, VecDeque<StatusCode>>>,
}

/// A running provider; it ends when it is dropped.
pub struct Provider {
    address: SocketAddr,
    desk: Arc<Desk>,
    serving: AbortHandle,
}

impl Provider {
    /// Starts on `runtime`, which is the harness's: a crashed instance does not take the provider with it.
    pub fn start(runtime: &Handle) -> Result<Provider, Failure> {
        let desk = Arc::new(Desk::default());
        let (listener, address) = listen(runtime)
            .map_err(|err| Failure::environment(format!("failed to listen on a loopback port: {err}")))?;
        let serving = runtime.spawn(accept(desk.clone(), listener)).abort_handle();
        Ok(Provider {
            address,
            desk,
            serving,
        })
    }

    /// The base URL for one instance, so that the book knows which of them a charge came from.
    pub fn door(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// Makes what comes and goes by that door part of a sweep's points.
    pub fn report_to(&self, door: &str, points: &Points) {
        lock(&self.desk.points).insert(door.to_owned(), points.clone());
    }

    /// What becomes of the next charge requests for that order, one turn each.
    pub fn script(&self, order_id: &str, turns: impl IntoIterator<Item = Turn>) {
        lock(&self.desk.scripts)
            .entry(order_id.to_owned())
            .or_default()
            .extend(turns);
    }

    /// What becomes of the first charge request for an order that has no script. Later ones are charged at once.
    pub fn otherwise(&self, turn: impl Fn(&str) -> Turn + Send + Sync + 'static) {
        *lock(&self.desk.otherwise) = Some(Arc::new(turn));
    }

    /// The next look-ups of that order's charge are answered with these errors, which say nothing about it.
    pub fn fail_lookups(&self, order_id: &str, errors: &[StatusCode]) {
        lock(&self.desk.failing_lookups).insert(order_id.to_owned(), errors.iter().copied().collect());
    }

    pub fn book(&self) -> Book {
        self.desk.book.borrow().clone()
    }

    /// Waits until the book says so.
    pub async fn until(
        &self,
        what: &str,
        deadline: Duration,
        reached: impl FnMut(&Book) -> bool,
    ) -> Result<(), Failure> {
        let mut book = self.desk.book.subscribe();
        within(deadline, what, async { book.wait_for(reached).await.map(|_| ()) })
            .await?
            .ok();
        Ok(())
    }

    /// Waits until every charge request for that order has been answered.
    pub async fn until_idle(&self, order_id: &str) -> Result<(), Failure> {
        let idle = |book: &Book| book.in_flight.get(order_id).is_none_or(|n| *n == 0);
        self.until("the provider's last answer", Duration::from_secs(10), idle)
            .await
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl fmt::Display for Acquirer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Acquirer::OncePerKey => "the acquirer that makes one charge per key",
            Acquirer::EveryRequest => "the acquirer that charges as often as it is asked",
        })
    }
}

fn listen(runtime: &Handle) -> std::io::Result<(TcpListener, SocketAddr)> {
    // A socket's readiness is reported on the runtime that it was made on.
    let _inside = runtime.enter();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, address))
}

async fn accept(desk: Arc<Desk>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(desk.clone(), stream));
    }
}

async fn serve(desk: Arc<Desk>, stream: TcpStream) {
    let service = service_fn(move |request| {
        // A task of its own: hyper drops the service when the client is gone, and the provider goes on.
        let turn = tokio::spawn(handle(desk.clone(), request));
        async move {
            turn.await
                .map_err(|_| "lost")
                .and_then(|answer| answer.ok_or("cut"))
        }
    });
    // An error is a connection that was cut, by the script or by the client.
    let _ = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// The answer, or `None` to cut the connection.
async fn handle(desk: Arc<Desk>, request: Request<Incoming>) -> Option<Response<Full<Bytes>>> {
    let path = request.uri().path().to_owned();
    let (door, path) = path.strip_prefix('/')?.split_once('/')?;
    let points = lock(&desk.points).get(door).cloned().unwrap_or_default();
    match (request.method(), path.strip_prefix("charges/by-key/")) {
        (&Method::GET, Some(key)) => desk.lookup(&points, percent_decoded(key)?).await,
        (&Method::POST, None) if path == "charges" => {
            let key = request
                .headers()
                .get("idempotency-key")?
                .to_str()
                .ok()?
                .to_owned();
            let body = request.into_body().collect().await.ok()?.to_bytes();
            desk.charge(&points, door, key, serde_json::from_slice(&body).ok()?)
                .await
        }
        _ => answer(StatusCode::BAD_REQUEST, Bytes::new()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    async fn charge(
        &self,
        points: &Points,
        door: &str,
        key: String,
        charge: Value,
    ) -> Option<Response<Full<Bytes>>> {
        let order = charge["order_id"].as_str()?.to_owned();
        let turn = lock(&self.scripts).get_mut(&order).and_then(VecDeque::pop_front);
        let otherwise = lock(&self.otherwise).clone();
        let otherwise = otherwise.filter(|_| self.book.borrow().asked(&order) == 0);
        let turn = turn
            .or_else(|| Some(otherwise?(&order)))
            .unwrap_or_else(|| Turn::new(Effect::Charge));
        self.book.send_modify(|book| {
            book.asked.entry(order.clone()).or_default().push(key.clone());
            *book.in_flight.entry(order.clone()).or_default() += 1;
        });
        let answer = self.take(points, turn, || self.enter(door, key, &charge)).await;
        self.book
            .send_modify(|book| *book.in_flight.entry(order).or_default() -= 1);
        answer
    }

    async fn take(
        &self,
        points: &Points,
        turn: Turn,
        enter: impl FnOnce() -> Bytes,
    ) -> Option<Response<Full<Bytes>>> {
        if !turn.takes.is_zero() {
            tokio::time::sleep(turn.takes).await;
        }
        if let Some(gate) = &turn.request {
            gate.pass().await;
        }
        if points.pass("the charge request").await == Fate::Lose {
            return None;
        }
        let receipt = match turn.effect {
            Effect::Charge | Effect::LoseAnswer => enter(),
            Effect::Decline | Effect::Busy | Effect::LoseRequest => Bytes::new(),
        };
        if let Some(gate) = &turn.answer {
            gate.pass().await;
        }
        if points.pass("the answer to the charge").await == Fate::Lose {
            return None;
        }
        match turn.effect {
            Effect::Charge => answer(StatusCode::CREATED, receipt),
            Effect::Decline => answer(StatusCode::PAYMENT_REQUIRED, receipt),
            Effect::Busy => answer(StatusCode::SERVICE_UNAVAILABLE, receipt),
            Effect::LoseRequest | Effect::LoseAnswer => None,
        }
    }

    /// Takes the money, and returns the receipt.
    fn enter(&self, door: &str, key: String, charge: &Value) -> Bytes {
        let mut receipt = Bytes::new();
        let merchant = charge["merchant"].as_str().unwrap_or_default();
        self.book.send_modify(|book| {
            let known = book.charged.iter().find(|charged| charged.key == key);
            if let Some(known) = known.filter(|_| Acquirer::of(merchant) == Acquirer::OncePerKey) {
                receipt = known.receipt.clone();
                return;
            }
            let n = book.charged.len() + 1;
            let charge_id = format!("ch_{n:06}");
            let charged_at = format!("2024-11-29T09:{:02}:{:02}Z", n / 60 % 60, n % 60);
            receipt = Bytes::from(json!({ "charge_id": charge_id, "charged_at": charged_at }).to_string());
            book.charged.push(Charged {
                charge_id,
                door: door.to_owned(),
                key,
                order_id: charge["order_id"].as_str().unwrap_or_default().to_owned(),
                receipt: receipt.clone(),
            });
        });
        receipt
    }

    async fn lookup(&self, points: &Points, key: String) -> Option<Response<Full<Bytes>>> {
        let first = self
            .book
            .borrow()
            .charged
            .iter()
            .find(|charged| charged.key == key)
            .cloned();
        let error = self.lookup_error(&key);
        self.book.send_modify(|book| book.lookups.push(key));
        if points.pass("the look-up").await == Fate::Lose {
            return None;
        }
        match (error, first) {
            (Some(error), _) => answer(error, Bytes::new()),
            (None, Some(charged)) => answer(StatusCode::OK, charged.receipt),
            (None, None) => answer(StatusCode::NOT_FOUND, Bytes::new()),
        }
    }

    /// What this look-up fails with, if it is to fail. A key is an order's once it was charged under it.
    fn lookup_error(&self, key: &str) -> Option<StatusCode> {
        let book = self.book.borrow();
        let (order, _) = book
            .asked
            .iter()
            .find(|(_, keys)| keys.iter().any(|asked| asked == key))?;
        lock(&self.failing_lookups).get_mut(order)?.pop_front()
    }
}

fn answer(status: StatusCode, body: Bytes) -> Option<Response<Full<Bytes>>> {
    Response::builder().status(status).body(Full::new(body)).ok()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let pair = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests;
