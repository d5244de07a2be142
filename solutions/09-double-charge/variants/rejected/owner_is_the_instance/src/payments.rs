//! `POST /payments`, behind the merchant's authentication, and the jobs that keep its tables small.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::psp::{Psp, PspError, Receipt};
use crate::request::{IdemCfg, PayError, PayReq, PayResp};
use crate::store;

#[derive(Clone)]
pub struct Payments {
    db: PgPool,
    psp: Arc<dyn Psp>,
    cfg: IdemCfg,
    instance: Uuid,
}

impl Payments {
    pub async fn new(db: PgPool, psp: Arc<dyn Psp>, cfg: IdemCfg) -> Self {
        Payments {
            db,
            psp,
            cfg,
            instance: Uuid::new_v4(),
        }
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
        let owner = self.instance;
        let claimed = store::claim(&self.db, merchant, key, req, owner, self.cfg.lease).await?;
        let Some(attempts) = claimed else {
            return self.on_record(merchant, key, req).await;
        };
        // From here to `finish` every way out, and every crash, leaves the same behind: a row that holds the request, a
        // lease that runs out, and a provider that can be asked what became of it.
        let (status, body, receipt) = match self.charge_once(merchant, key, req, attempts).await {
            Ok(receipt) => (201, paid(req, &receipt), Some(receipt)),
            Err(PspError::Declined) => (402, declined(req), None),
            Err(err @ PspError::Unavailable) => {
                store::release(&self.db, merchant, key, owner).await?;
                return Err(PayError::Retry(err.to_string()));
            }
            // The lease goes on: for a while the charge may still be on its way, where no look-up sees it.
            Err(err @ PspError::Timeout) => return Err(PayError::Retry(err.to_string())),
        };
        let entry = receipt.as_ref().map(|receipt| (req, receipt));
        match store::finish(&self.db, merchant, key, owner, (status, &body), entry).await? {
            true => Ok(PayResp {
                status,
                body,
                replayed: false,
            }),
            false => self.on_record(merchant, key, req).await,
        }
    }

    /// The provider's key is the payment's for good, never an attempt's: it is how the acquirer that makes one charge
    /// per key recognises the next attempt, and how the other one is asked whether it charged.
    async fn charge_once(
        &self,
        merchant: &str,
        key: &str,
        req: &PayReq,
        attempts: i64,
    ) -> Result<Receipt, PspError> {
        // A merchant's name holds no slash, so no two payments share a key.
        let psp_key = format!("{merchant}/{key}");
        if attempts > 1
            && let Some(receipt) = self.psp.lookup(&psp_key).await?
        {
            return Ok(receipt);
        }
        self.psp.charge(&psp_key, &req.charge(merchant)).await
    }

    async fn on_record(&self, merchant: &str, key: &str, req: &PayReq) -> Result<PayResp, PayError> {
        match store::find(&self.db, merchant, key).await? {
            Some(known) if known.fingerprint != req.fingerprint() => Err(PayError::KeyReuse),
            Some(store::KnownKey {
                status: Some(status),
                body: Some(body),
                ..
            }) => Ok(PayResp {
                status: status as u16,
                body: body.into(),
                replayed: true,
            }),
            _ => Err(PayError::InProgress),
        }
    }

    /// Brings the payments of crashed instances to their end. Every instance calls it every few seconds.
    pub async fn recover(&self) -> Result<usize, PayError> {
        let mut settled = 0;
        for (merchant, key, request) in store::abandoned(&self.db).await? {
            let Ok(req) = serde_json::from_str(&request) else {
                continue;
            };
            settled += usize::from(self.pay(&merchant, &key, &req).await.is_ok());
        }
        Ok(settled)
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
