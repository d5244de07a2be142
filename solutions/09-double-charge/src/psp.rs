//! The payment provider's client. This file is provided: the provider's documentation, in code.
//!
//! | call | answer |
//! |---|---|
//! | `POST /charges`, header `Idempotency-Key`, a [`Charge`] as JSON | `201` and a [`Receipt`] as JSON: charged |
//! | | `402`: declined, nothing charged |
//! | | `503`: the provider is busy, nothing charged |
//! | `GET /charges/by-key/KEY` (percent-encoded) | `200` and the [`Receipt`] of the first charge made under KEY |
//! | | `404`: no charge was made under KEY |
//!
//! Any other answer to a charge, and none at all, leaves open whether the money was taken. Two acquirers stand behind
//! this interface, and the merchant's contract decides which. The first makes one charge per key, however often and
//! however concurrently it is asked, and answers each time with that charge's receipt. The second uses the key for the
//! look-up only: it charges as often as it is asked.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

/// The provider's own limit is eight seconds; an answer later than this never comes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    pub merchant: String,
    pub order_id: String,
    pub amount_cents: i64,
    pub currency: String,
    pub card: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub charge_id: String,
    /// RFC 3339, by the provider's clock.
    pub charged_at: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PspError {
    /// The card was declined. Nothing was charged.
    Declined,
    /// No answer, or none that can be read: the customer may have been charged, or may be in a moment.
    Timeout,
    /// The provider could not be reached or was busy. Nothing was charged.
    Unavailable,
}

impl fmt::Display for PspError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PspError::Declined => "card declined",
            PspError::Timeout => "no answer from the payment provider",
            PspError::Unavailable => "payment provider unavailable",
        })
    }
}

impl std::error::Error for PspError {}

#[async_trait]
pub trait Psp: Send + Sync {
    /// Charges the card. `psp_key` is at most 255 visible ASCII characters.
    async fn charge(&self, psp_key: &str, r: &Charge) -> Result<Receipt, PspError>;

    /// The first charge that was made under `psp_key`, if there is one.
    async fn lookup(&self, psp_key: &str) -> Result<Option<Receipt>, PspError>;
}

/// The provider over HTTP, at `base_url` (`http://host:port`).
#[derive(Clone, Debug)]
pub struct HttpPsp {
    pub base_url: String,
}

impl HttpPsp {
    async fn call(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), PspError> {
        // One connection per call: the provider closes idle ones without notice, and a charge that was written to a
        // closed connection cannot be told from one that was lost.
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let answer = async {
            let sent = client.request(request).await;
            let response = sent.map_err(|err| match err.is_connect() {
                true => PspError::Unavailable,
                false => PspError::Timeout,
            })?;
            let status = response.status();
            let body = response
                .into_body()
                .collect()
                .await
                .map_err(|_| PspError::Timeout)?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(ANSWER_TIMEOUT, answer)
            .await
            .unwrap_or(Err(PspError::Timeout))
    }
}

#[async_trait]
impl Psp for HttpPsp {
    async fn charge(&self, psp_key: &str, r: &Charge) -> Result<Receipt, PspError> {
        let key = HeaderValue::from_str(psp_key).map_err(|_| PspError::Unavailable)?;
        let body = serde_json::to_vec(r).map_err(|_| PspError::Unavailable)?;
        let request = Request::post(format!("{}/charges", self.base_url))
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", key)
            .body(Full::from(body))
            .map_err(|_| PspError::Unavailable)?;
        match self.call(request).await? {
            (StatusCode::CREATED, body) => serde_json::from_slice(&body).map_err(|_| PspError::Timeout),
            (StatusCode::PAYMENT_REQUIRED, _) => Err(PspError::Declined),
            (StatusCode::SERVICE_UNAVAILABLE, _) => Err(PspError::Unavailable),
            _ => Err(PspError::Timeout),
        }
    }

    async fn lookup(&self, psp_key: &str) -> Result<Option<Receipt>, PspError> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!(
                "{}/charges/by-key/{}",
                self.base_url,
                percent_encoded(psp_key)
            ))
            .body(Full::default())
            .map_err(|_| PspError::Unavailable)?;
        match self.call(request).await? {
            (StatusCode::OK, body) => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|_| PspError::Timeout),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (StatusCode::SERVICE_UNAVAILABLE, _) => Err(PspError::Unavailable),
            _ => Err(PspError::Timeout),
        }
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
