//! `POST /payments`, behind the merchant's authentication, and the jobs that keep its tables small.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::psp::{Psp, PspError, Receipt};
use crate::request::{IdemCfg, PayError, PayReq, PayResp};
use crate::store;

#[derive(Clone)]
pub struct Payments {
    db: PgPool,
    psp: Arc<dyn Psp>,
    cfg: IdemCfg,
}

impl Payments {
    pub async fn new(db: PgPool, psp: Arc<dyn Psp>, cfg: IdemCfg) -> Self {
        Payments { db, psp, cfg }
    }

    /// Charges the customer once per `merchant` and `key`, and answers a repeated request as it answered the first.
    pub async fn pay(&self, merchant: &str, key: &str, req: &PayReq) -> Result<PayResp, PayError> {
        req.validate(merchant, key)?;
        let (this, merchant, key, req) = (self.clone(), merchant.to_owned(), key.to_owned(), req.clone());
        // A task of its own: a client that hangs up drops this future, and must not drop the attempt with it.
        let attempt = tokio::spawn(async move { this.attempt(&merchant, &key, &req).await });
        attempt
            .await
            .unwrap_or_else(|err| Err(PayError::Retry(err.to_string())))
    }

    async fn attempt(&self, merchant: &str, key: &str, req: &PayReq) -> Result<PayResp, PayError> {
        if let Some(known) = store::find(&self.db, merchant, key).await? {
            return self.answer(known, req);
        }
        let (status, body, receipt) = match self.charge(merchant, key, req).await {
            Ok(receipt) => (201, paid(req, &receipt), Some(receipt)),
            Err(PspError::Declined) => (402, declined(req), None),
            Err(err) => return Err(PayError::Retry(err.to_string())),
        };
        let entry = receipt.as_ref().map(|receipt| (req, receipt));
        match store::record(&self.db, merchant, key, req, (status, &body), entry).await? {
            true => Ok(PayResp {
                status,
                body,
                replayed: false,
            }),
            false => match store::find(&self.db, merchant, key).await? {
                Some(known) => self.answer(known, req),
                None => Err(PayError::InProgress),
            },
        }
    }

    async fn charge(&self, merchant: &str, key: &str, req: &PayReq) -> Result<Receipt, PspError> {
        self.psp
            .charge(&format!("{merchant}/{key}"), &req.charge(merchant))
            .await
    }

    fn answer(&self, known: store::KnownKey, req: &PayReq) -> Result<PayResp, PayError> {
        if known.fingerprint != req.fingerprint() {
            return Err(PayError::KeyReuse);
        }
        Ok(PayResp {
            status: known.status as u16,
            body: known.body.into(),
            replayed: true,
        })
    }

    /// Nothing is left behind: what is on record is finished.
    pub async fn recover(&self) -> Result<usize, PayError> {
        Ok(0)
    }

    /// Forgets keys past their retention. A nightly job calls it with the current time.
    pub async fn purge(&self, now: OffsetDateTime) -> Result<u64, PayError> {
        Ok(store::purge(&self.db, now - self.cfg.retention).await?)
    }
}

fn paid(req: &PayReq, receipt: &Receipt) -> Bytes {
    let body = json!({
        "status": "paid",
        "order_id": req.order_id,
        "amount_cents": req.amount_cents,
        "currency": req.currency,
        "charge_id": receipt.charge_id,
        "paid_at": receipt.charged_at,
    });
    Bytes::from(body.to_string())
}

fn declined(req: &PayReq) -> Bytes {
    Bytes::from(json!({ "status": "declined", "order_id": req.order_id }).to_string())
}
