//! etcd through its JSON gateway: keys and values in base64, 64-bit numbers as strings.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::error::LockError;

const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct Etcd {
    url: String,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// A key's value, and the revisions that made the key and the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: String,
    pub create_revision: i64,
    pub mod_revision: i64,
}

/// What a transaction came to, and the revision of the store after it.
#[derive(Clone, Debug)]
pub struct Committed {
    pub succeeded: bool,
    pub revision: i64,
}

impl Etcd {
    pub fn new(url: &str) -> Etcd {
        Etcd {
            url: url.trim_end_matches('/').to_owned(),
            http: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// The number of a new lease. Its time is in whole seconds, rounded up.
    pub async fn grant(&self, ttl: Duration) -> Result<i64, LockError> {
        let seconds = ttl.as_millis().div_ceil(1000).to_string();
        let granted = self.call("lease/grant", json!({ "TTL": seconds })).await?;
        Ok(number(&granted["ID"]))
    }

    /// The seconds that the lease has from now on, as the server tells.
    pub async fn keep_alive(&self, lease: i64) -> Result<i64, LockError> {
        let kept = self
            .call("lease/keepalive", json!({ "ID": lease.to_string() }))
            .await?;
        Ok(number(&kept["result"]["TTL"]))
    }

    /// Ends a lease, and removes its keys.
    pub async fn revoke(&self, lease: i64) -> Result<(), LockError> {
        let revoked = self
            .call("lease/revoke", json!({ "ID": lease.to_string() }))
            .await;
        revoked.map(drop)
    }

    pub async fn get(&self, key: &str) -> Result<Option<Entry>, LockError> {
        let found = self.call("kv/range", json!({ "key": text(key) })).await?;
        let Some(kv) = found["kvs"].get(0) else {
            return Ok(None);
        };
        let value = BASE64_STANDARD
            .decode(kv["value"].as_str().unwrap_or_default())
            .map_err(LockError::backend)?;
        Ok(Some(Entry {
            value: String::from_utf8_lossy(&value).into_owned(),
            create_revision: number(&kv["create_revision"]),
            mod_revision: number(&kv["mod_revision"]),
        }))
    }

    pub async fn put(&self, key: &str, value: &str) -> Result<(), LockError> {
        self.call("kv/put", json!({ "key": text(key), "value": text(value) }))
            .await
            .map(drop)
    }

    pub async fn delete(&self, key: &str) -> Result<(), LockError> {
        self.call("kv/deleterange", json!({ "key": text(key) }))
            .await
            .map(drop)
    }

    /// Puts a key under a lease unless it is there; whether it was put.
    pub async fn put_new(&self, key: &str, value: &str, lease: i64) -> Result<bool, LockError> {
        let put = vec![Etcd::putting(key, value, lease)];
        let committed = self.txn(vec![Etcd::made_at(key, 0)], put).await?;
        Ok(committed.succeeded)
    }

    /// Does all of `then` if all of `compare` holds.
    pub async fn txn(&self, compare: Vec<Value>, then: Vec<Value>) -> Result<Committed, LockError> {
        let txn = json!({ "compare": compare, "success": then });
        let done = self.call("kv/txn", txn).await?;
        Ok(Committed {
            succeeded: done["succeeded"].as_bool().unwrap_or(false),
            revision: number(&done["header"]["revision"]),
        })
    }

    /// For [`Etcd::txn`]: the key was made by that revision; 0: there is no such key.
    pub fn made_at(key: &str, revision: i64) -> Value {
        json!({ "key": text(key), "target": "CREATE", "result": "EQUAL", "create_revision": revision.to_string() })
    }

    /// For [`Etcd::txn`]; lease 0 is none.
    pub fn putting(key: &str, value: &str, lease: i64) -> Value {
        json!({ "request_put": { "key": text(key), "value": text(value), "lease": lease.to_string() } })
    }

    /// For [`Etcd::txn`].
    pub fn deleting(key: &str) -> Value {
        json!({ "request_delete_range": { "key": text(key) } })
    }

    /// Any other method of the gateway, by its path behind `/v3/`.
    pub async fn call(&self, path: &str, body: Value) -> Result<Value, LockError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/v3/{path}", self.url))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(LockError::backend)?;
        let answer = tokio::time::timeout(PATIENCE, async {
            let answer = self.http.request(request).await.map_err(LockError::backend)?;
            let status = answer.status();
            let body = answer.into_body().collect().await.map_err(LockError::backend)?;
            Ok::<_, LockError>((status, body.to_bytes()))
        });
        let (status, body) = answer.await.map_err(LockError::backend)??;
        if !status.is_success() {
            let said = String::from_utf8_lossy(&body).into_owned();
            return Err(LockError::backend(format!("{path}: {status}: {said}")));
        }
        serde_json::from_slice(&body).map_err(LockError::backend)
    }
}

fn text(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

/// What is absent is 0, as ever in etcd's answers.
fn number(value: &Value) -> i64 {
    value.as_str().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
