//! What a merchant asks for, and what it is answered.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::psp::Charge;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayReq {
    pub order_id: String,
    pub amount_cents: i64,
    /// Three capital letters, ISO 4217.
    pub currency: String,
    /// The card's token, as the merchant's checkout page got it from the provider.
    pub card: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayResp {
    pub status: u16,
    pub body: Bytes,
    /// True when an earlier call did the work.
    pub replayed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayError {
    /// An earlier request with this key is still running (409).
    InProgress,
    /// The key was used for another request (422).
    KeyReuse,
    /// The request can never succeed (400).
    Invalid(&'static str),
    /// Something the service depends on failed; the client should send the same request again (503).
    Retry(String),
}

#[derive(Clone, Copy, Debug)]
pub struct IdemCfg {
    /// How long an attempt may hold its key.
    pub lease: Duration,
    /// How long a finished payment's key is remembered.
    pub retention: Duration,
}

impl PayReq {
    pub(crate) fn validate(&self, merchant: &str, key: &str) -> Result<(), PayError> {
        let name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if merchant.is_empty() || merchant.len() > 64 || !merchant.bytes().all(name) {
            return Err(PayError::Invalid("unknown merchant"));
        }
        if key.is_empty() || key.len() > 64 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(PayError::Invalid(
                "an idempotency key is 1 to 64 visible ASCII characters",
            ));
        }
        if self.order_id.is_empty() || self.card.is_empty() {
            return Err(PayError::Invalid("order_id and card are required"));
        }
        if self.amount_cents <= 0 {
            return Err(PayError::Invalid("amount_cents must be positive"));
        }
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(PayError::Invalid("currency must be an ISO 4217 code"));
        }
        Ok(())
    }

    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        let canonical = json!([self.order_id, self.amount_cents, self.currency, self.card]);
        Sha256::digest(canonical.to_string()).to_vec()
    }

    pub(crate) fn charge(&self, merchant: &str) -> Charge {
        Charge {
            merchant: merchant.to_owned(),
            order_id: self.order_id.clone(),
            amount_cents: self.amount_cents,
            currency: self.currency.clone(),
            card: self.card.clone(),
        }
    }
}

impl fmt::Display for PayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PayError::InProgress => f.write_str("a request with this key is in progress"),
            PayError::KeyReuse => f.write_str("this key was used for another request"),
            PayError::Invalid(reason) => write!(f, "invalid request: {reason}"),
            PayError::Retry(cause) => write!(f, "try again: {cause}"),
        }
    }
}

impl std::error::Error for PayError {}

impl From<sqlx::Error> for PayError {
    fn from(err: sqlx::Error) -> Self {
        PayError::Retry(err.to_string())
    }
}
