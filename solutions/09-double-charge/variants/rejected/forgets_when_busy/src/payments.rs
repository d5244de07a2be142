//! `POST /payments`, behind the merchant's authentication, and the jobs that keep its tables small.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::json;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::psp::{Psp, PspError, Receipt};
use crate::request::{IdemCfg, PayError, PayReq, PayResp};
use crate::store::{self, Begun, Outcome};

/// How many unfinished payments one call of `recover` asks the provider for.
const RECOVERED_AT_ONCE: i64 = 16;

pub struct Payments {
    db: PgPool,
    psp: Arc<dyn Psp>,
    cfg: IdemCfg,
    /// Where `recover` goes on, so that payments it cannot finish do not keep it from the others.
    recovered_up_to: Mutex<Uuid>,
}

impl Payments {
    pub async fn new(db: PgPool, psp: Arc<dyn Psp>, cfg: IdemCfg) -> Self {
        Payments {
            db,
            psp,
            cfg,
            recovered_up_to: Mutex::new(Uuid::nil()),
        }
    }

    /// Charges the customer once per `merchant` and `key`, and answers a repeated request as it answered the first.
    pub async fn pay(&self, merchant: &str, key: &str, req: &PayReq) -> Result<PayResp, PayError> {
        req.validate(merchant, key)?;
        let (intent, attempt) =
            match store::within(store::begin(&self.db, merchant, key, req, self.cfg.lease)).await? {
                Begun::Yours { intent, attempt } => (intent, attempt),
                Begun::Busy => return Err(PayError::InProgress),
                Begun::Reuse => return Err(PayError::KeyReuse),
                Begun::Done(outcome) => return Ok(replay(outcome)),
            };

        let psp_key = intent.to_string();
        // Whatever became of the attempts before this one: what they charged is found under the key.
        let found = match attempt {
            1 => Ok(None),
            _ => self.psp.lookup(&psp_key).await,
        };
        let charged = match found {
            Ok(Some(receipt)) => Ok(receipt),
            Ok(None) => self.psp.charge(&psp_key, &req.charge(merchant)).await,
            Err(err) => {
                // Nothing was asked for, so nobody has to wait for this attempt.
                let _ = store::within(store::give_back(&self.db, intent, attempt)).await;
                return Err(PayError::Retry(err.to_string()));
            }
        };
        let (status, body, charge_id) = match &charged {
            Ok(receipt) => (
                201,
                paid(&req.order_id, req.amount_cents, &req.currency, receipt),
                Some(receipt.charge_id.as_str()),
            ),
            Err(PspError::Declined) => (402, declined(req), None),
            Err(PspError::Unavailable) => {
                // Nothing has happened under this key: back to where we were.
                let _ = match attempt {
                    1 => store::within(store::forget(&self.db, intent)).await,
                    _ => store::within(store::give_back(&self.db, intent, attempt)).await,
                };
                return Err(PayError::Retry(PspError::Unavailable.to_string()));
            }
            Err(PspError::Timeout) => return Err(PayError::Retry(PspError::Timeout.to_string())),
        };
        if store::within(store::end(&self.db, intent, attempt, status, &body, charge_id)).await? {
            return Ok(PayResp {
                status,
                body,
                replayed: false,
            });
        }
        match store::within(store::outcome(&self.db, intent)).await? {
            Some(outcome) => Ok(replay(outcome)),
            None => Err(PayError::InProgress),
        }
    }

    /// Finishes payments whose attempts left a charge behind. The others wait for the merchant's next request.
    /// Every instance calls it every few seconds.
    pub async fn recover(&self) -> Result<usize, PayError> {
        let after = *self.recovered_up_to.lock().unwrap();
        let orphans = store::within(store::orphans(&self.db, after, RECOVERED_AT_ONCE)).await?;
        let last = match orphans.last() {
            Some(orphan) if orphans.len() as i64 == RECOVERED_AT_ONCE => orphan.intent,
            _ => Uuid::nil(),
        };
        *self.recovered_up_to.lock().unwrap() = last;
        let mut finished = 0;
        for orphan in orphans {
            let receipt = match self.psp.lookup(&orphan.intent.to_string()).await {
                Ok(Some(receipt)) => receipt,
                Ok(None) => continue,
                // It is not answering: the next call asks again.
                Err(_) => break,
            };
            let Ok(order_id) = serde_json::from_str::<String>(&orphan.order_json) else {
                continue;
            };
            let body = paid(&order_id, orphan.amount_cents, &orphan.currency, &receipt);
            // Only as long as nobody follows the attempt that made the charge.
            let charge_id = Some(receipt.charge_id.as_str());
            if store::within(store::end(
                &self.db,
                orphan.intent,
                orphan.attempt,
                201,
                &body,
                charge_id,
            ))
            .await?
            {
                finished += 1;
            }
        }
        Ok(finished)
    }

    /// Forgets keys past their retention. A nightly job calls it with the current time.
    pub async fn purge(&self, now: OffsetDateTime) -> Result<u64, PayError> {
        let oldest = time::Duration::try_from(self.cfg.retention)
            .ok()
            .and_then(|retention| now.checked_sub(retention))
            .filter(|oldest| oldest.year() >= 1970);
        match oldest {
            Some(oldest) => Ok(store::purge(&self.db, oldest).await?),
            None => Ok(0),
        }
    }
}

fn replay(outcome: Outcome) -> PayResp {
    PayResp {
        status: outcome.status as u16,
        body: Bytes::from(outcome.body),
        replayed: true,
    }
}

fn paid(order_id: &str, amount_cents: i64, currency: &str, receipt: &Receipt) -> Bytes {
    let body = json!({
        "status": "paid",
        "order_id": order_id,
        "amount_cents": amount_cents,
        "currency": currency,
        "charge_id": receipt.charge_id,
        "paid_at": receipt.charged_at,
    });
    Bytes::from(body.to_string())
}

fn declined(req: &PayReq) -> Bytes {
    Bytes::from(json!({ "status": "declined", "order_id": req.order_id }).to_string())
}
