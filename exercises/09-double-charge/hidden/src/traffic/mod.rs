//! What merchants' checkouts send: a payment under a key of the merchant's choosing, and the same again for as long as
//! no answer is final, as the service's documentation asks of them; and a [`sale`], when many do so at once.

pub mod sale;

use std::time::Duration;

use harness::{Failure, within};

use crate::provider::Acquirer;
use crate::subject::{PayError, PayReq, PayResp, Payments};

/// Between two attempts of one checkout.
pub const PAUSE: Duration = Duration::from_millis(40);

/// One customer's payment, as the merchant sends it however often.
#[derive(Clone, Debug)]
pub struct Checkout {
    pub merchant: String,
    pub key: String,
    pub request: PayReq,
}

impl Checkout {
    /// A payment that nothing else in the check has to do with; `name` is part of its order and of its key.
    pub fn new(acquirer: Acquirer, name: &str) -> Checkout {
        Checkout {
            merchant: acquirer.merchant().to_owned(),
            key: format!("7f3a-{name}"),
            request: PayReq {
                order_id: format!("order-{name}"),
                amount_cents: 1_000 + 10 * name.len() as i64,
                currency: "EUR".to_owned(),
                card: "tok_4242".to_owned(),
            },
        }
    }

    pub fn order(&self) -> &str {
        &self.request.order_id
    }

    pub async fn send(&self, to: &Payments) -> Result<PayResp, PayError> {
        to.pay(&self.merchant, &self.key, &self.request).await
    }

    /// Sends it until there is an answer, for as long as the service says "in progress" or "try again".
    pub async fn insist(&self, to: &Payments, deadline: Duration) -> Result<PayResp, Failure> {
        let mut last = "no answer at all".to_owned();
        let insisting = async {
            loop {
                match self.send(to).await {
                    Ok(answer) => return Ok(answer),
                    Err(err @ (PayError::InProgress { .. } | PayError::Retry { .. })) => {
                        last = err.to_string()
                    }
                    Err(err) => return Err(Failure::new(format!("the request was refused for good: {err}"))),
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let answered = within(deadline, "a final answer", insisting).await;
        answered.map_err(|failure| failure.evidence(format!("what the merchant was told last: {last}")))?
    }
}
