//! `POST /payments`, behind the merchant's authentication, and the jobs that keep its tables small.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::psp::{Psp, PspError, Receipt};
use crate::request::{IdemCfg, PayError, PayReq, PayResp};
use crate::store::{self, Claim};

/// How often an attempt asks for more time at most. An attempt that hangs loses its key in the end.
const PROLONGATIONS: u32 = 2;

pub struct Payments {
    db: PgPool,
    psp: Arc<dyn Psp>,
    cfg: IdemCfg,
    /// Prolonging takes one connection of the pool, however many charges are under way.
    prolonging: Semaphore,
}

impl Payments {
    pub async fn new(db: PgPool, psp: Arc<dyn Psp>, cfg: IdemCfg) -> Self {
        Payments {
            db,
            psp,
            cfg,
            prolonging: Semaphore::new(1),
        }
    }

    /// Charges the customer once per `merchant` and `key`, and answers a repeated request as it answered the first.
    ///
    /// When the call is dropped, its lease ends, and the next request asks the provider what became of the charge.
    pub async fn pay(&self, merchant: &str, key: &str, req: &PayReq) -> Result<PayResp, PayError> {
        req.validate(merchant, key)?;
        let fingerprint = req.fingerprint();
        // The same for every attempt and on every instance, so that the provider sees them as one.
        let fresh_psp_key =
            Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{merchant}/{key}").as_bytes()).to_string();
        let lease = self.cfg.lease;
        // A key that is there without being claimable may be purged before it is read: then it is a new key.
        for _ in 0..3 {
            let claimed = store::claim(&self.db, merchant, key, &fingerprint, &fresh_psp_key, lease).await?;
            if let Some(claim) = claimed {
                return self.attempt(&claim, merchant, key, req).await;
            }
            if let Some(answer) = self.known(merchant, key, &fingerprint).await? {
                return Ok(answer);
            }
        }
        Err(PayError::Retry("the key is being purged".to_owned()))
    }

    /// The answer on file; `None` when the key is not known.
    async fn known(
        &self,
        merchant: &str,
        key: &str,
        fingerprint: &[u8],
    ) -> Result<Option<PayResp>, PayError> {
        let Some(known) = store::find(&self.db, merchant, key).await? else {
            return Ok(None);
        };
        if known.fingerprint != fingerprint {
            return Err(PayError::KeyReuse);
        }
        let (Some(status), Some(body)) = (known.status, known.body) else {
            return Err(PayError::InProgress);
        };
        Ok(Some(PayResp {
            status: status as u16,
            body: Bytes::from(body),
            replayed: true,
        }))
    }

    async fn attempt(
        &self,
        claim: &Claim,
        merchant: &str,
        key: &str,
        req: &PayReq,
    ) -> Result<PayResp, PayError> {
        let outcome = tokio::select! {
            outcome = self.charge_once(claim, merchant, req) => outcome,
            never = self.keep_lease(claim) => match never {},
        };
        let (status, body, ours) = match outcome {
            Ok(receipt) => {
                let body = paid(req, &receipt);
                let ours = store::finish_paid(&self.db, claim, merchant, req, &receipt, 201, &body).await?;
                (201, body, ours)
            }
            Err(PspError::Declined) => {
                let body = declined(req);
                let ours = store::finish_declined(&self.db, claim, 402, &body).await?;
                (402, body, ours)
            }
            Err(err @ PspError::Unavailable) => {
                // This attempt charged nothing: the next one need not wait. If this fails, the lease ends by itself.
                let _ = store::release(&self.db, claim).await;
                return Err(PayError::Retry(err.to_string()));
            }
            // The charge may be on its way. The lease gives it time; the next attempt looks for it.
            Err(err @ PspError::Timeout) => return Err(PayError::Retry(err.to_string())),
        };
        if ours {
            return Ok(PayResp {
                status,
                body,
                replayed: false,
            });
        }
        match self.known(merchant, key, &req.fingerprint()).await? {
            Some(answer) => Ok(answer),
            None => Err(PayError::Retry("the key was purged".to_owned())),
        }
    }

    /// Asks the provider for the charge, after looking for the one that an earlier attempt may have made.
    async fn charge_once(&self, claim: &Claim, merchant: &str, req: &PayReq) -> Result<Receipt, PspError> {
        if claim.fence > 1
            && let Some(receipt) = self.psp.lookup(&claim.psp_key).await?
        {
            return Ok(receipt);
        }
        self.psp.charge(&claim.psp_key, &req.charge(merchant)).await
    }

    async fn keep_lease(&self, claim: &Claim) -> std::convert::Infallible {
        for _ in 0..PROLONGATIONS {
            tokio::time::sleep(self.cfg.lease.mul_f64(0.6)).await;
            if let Ok(_permit) = self.prolonging.acquire().await {
                // If it fails, the lease ends earlier, nothing worse.
                let _ = store::prolong(&self.db, claim, self.cfg.lease).await;
            }
        }
        std::future::pending().await
    }

    /// Unfinished payments are left to the merchant's next request.
    pub async fn recover(&self) -> Result<usize, PayError> {
        Ok(0)
    }

    /// Forgets keys past their retention. A nightly job calls it with the current time.
    pub async fn purge(&self, now: OffsetDateTime) -> Result<u64, PayError> {
        match cutoff(now, self.cfg.retention) {
            Some(finished_before) => store::purge(&self.db, finished_before).await,
            None => Ok(0),
        }
    }
}

/// `None` when nothing can be that old.
fn cutoff(now: OffsetDateTime, retention: std::time::Duration) -> Option<OffsetDateTime> {
    let before = now.checked_sub(retention.try_into().ok()?)?;
    (before.year() > 0).then_some(before)
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
