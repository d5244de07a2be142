//! The price service's client: `GET /prices/MARKET` is answered with `{"unit_cents": 250}`.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::StatusCode;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

/// The price service's own limit.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceError(String);

#[derive(Deserialize)]
struct Price {
    unit_cents: i64,
}

impl fmt::Display for PriceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no price: {}", self.0)
    }
}

impl std::error::Error for PriceError {}

/// What a unit costs in that market. Each call has a connection of its own, which ends with it.
pub async fn lookup(base_url: &str, market: &str) -> Result<i64, PriceError> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let url = format!("{base_url}/prices/{market}");
    let url = url.parse().map_err(|err| PriceError(format!("{url}: {err}")))?;
    let answer = async {
        let response = client.get(url).await.map_err(|err| PriceError(err.to_string()))?;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|err| PriceError(err.to_string()))?.to_bytes();
        match status {
            StatusCode::OK => serde_json::from_slice(&body)
                .map(|Price { unit_cents }| unit_cents)
                .map_err(|err| PriceError(err.to_string())),
            status => Err(PriceError(format!("the price service answers {status}"))),
        }
    };
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
    answer.unwrap_or_else(|_| Err(PriceError("the price service does not answer".to_owned())))
}
