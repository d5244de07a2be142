//! `POST /payments`, behind the merchant's authentication, and the jobs that keep its tables small.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use sqlx::PgPool;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::psp::{Psp, PspError};
use crate::request::{IdemCfg, PayError, PayReq, PayResp};
use crate::store;

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
        let fingerprint = req.fingerprint();
        if let Some(known) = store::find(&self.db, merchant, key).await? {
            if known.fingerprint != fingerprint {
                return Err(PayError::KeyReuse);
            }
            let (Some(charge_id), Some(created_at)) = (known.charge_id, known.created_at) else {
                return Err(PayError::InProgress);
            };
            let paid_at = created_at.format(&Rfc3339).unwrap_or_default();
            return Ok(PayResp {
                status: 200,
                body: paid(req, &charge_id, &paid_at),
                replayed: true,
            });
        }

        if !store::claim(&self.db, merchant, key, &fingerprint, self.cfg.lease).await? {
            return Err(PayError::InProgress);
        }
        let attempt = Uuid::new_v4().to_string();
        match self.psp.charge(&attempt, &req.charge(merchant)).await {
            Ok(receipt) => {
                let payment_id = store::record(&self.db, merchant, req, &receipt).await?;
                store::finish(&self.db, merchant, key, payment_id).await?;
                let body = paid(req, &receipt.charge_id, &receipt.charged_at);
                Ok(PayResp {
                    status: 201,
                    body,
                    replayed: false,
                })
            }
            Err(err) => {
                store::release(&self.db, merchant, key).await?;
                match err {
                    PspError::Declined => Ok(PayResp {
                        status: 402,
                        body: declined(req),
                        replayed: false,
                    }),
                    PspError::Timeout | PspError::Unavailable => Err(PayError::Retry(err.to_string())),
                }
            }
        }
    }

    /// Frees the keys that crashed instances left behind. Every instance calls it every few seconds.
    pub async fn recover(&self) -> Result<usize, PayError> {
        Ok(store::release_expired(&self.db).await? as usize)
    }

    /// Forgets keys past their retention. A nightly job calls it with the current time.
    pub async fn purge(&self, now: OffsetDateTime) -> Result<u64, PayError> {
        Ok(store::purge(&self.db, now - self.cfg.retention).await?)
    }
}

fn paid(req: &PayReq, charge_id: &str, paid_at: &str) -> Bytes {
    let body = json!({
        "status": "paid",
        "order_id": req.order_id,
        "amount_cents": req.amount_cents,
        "currency": req.currency,
        "charge_id": charge_id,
        "paid_at": paid_at,
    });
    Bytes::from(body.to_string())
}

fn declined(req: &PayReq) -> Bytes {
    Bytes::from(json!({ "status": "declined", "order_id": req.order_id }).to_string())
}
