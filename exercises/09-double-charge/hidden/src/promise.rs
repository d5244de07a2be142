//! What the service promises about one payment, whatever happened to it: one charge, one answer.

use std::time::Duration;

use harness::{Failure, ensure};

use crate::provider::{Acquirer, Provider};
use crate::subject::{PayResp, Payments};
use crate::traffic::Checkout;

/// A generous deadline where the shortest lease has to end first.
pub const AFTER_A_LEASE: Duration = Duration::from_secs(8);
/// A generous deadline for an answer that is on record.
const SOON: Duration = Duration::from_secs(5);

/// Sends the request to the first instance until it is answered, then once more to each: it has succeeded, and the
/// customer was charged once. `told` is what callers before this were told. Whether the answers are the same to the
/// byte is another promise, [`replays`].
pub async fn settles_with_one_charge(
    provider: &Provider,
    instances: &[&Payments],
    checkout: &Checkout,
    told: &[PayResp],
) -> Result<(), Failure> {
    settles_after(1, provider, instances, checkout, told).await
}

/// The same, where so many attempts may have to fail first, each with a lease to be waited for.
pub async fn settles_after(
    attempts: u32,
    provider: &Provider,
    instances: &[&Payments],
    checkout: &Checkout,
    told: &[PayResp],
) -> Result<(), Failure> {
    let answer = checkout
        .insist(instances[0], AFTER_A_LEASE * attempts)
        .await
        .map_err(|failure| {
            failure.because(
                "An attempt that failed or died keeps its key for ever: nothing lets the next one in.",
            )
        })?;
    provider.until_idle(checkout.order()).await?;
    charged_once(provider, checkout)?;
    told.iter().chain([&answer]).try_for_each(succeeded)?;
    for payments in instances {
        succeeded(&checkout.insist(payments, SOON).await?)?;
    }
    charged_once(provider, checkout)
}

/// The request is answered as before, byte for byte, by whichever instance.
pub async fn replays(instances: &[&Payments], checkout: &Checkout, first: &PayResp) -> Result<(), Failure> {
    for payments in instances {
        let again = checkout.insist(payments, SOON).await?;
        same(first, &again)?;
        ensure!(
            again.replayed,
            "A merchant tells by `replayed` that nothing was done again.",
            "an answer that had been given before came with replayed = false"
        );
    }
    Ok(())
}

pub fn same(first: &PayResp, again: &PayResp) -> Result<(), Failure> {
    ensure!(
        (again.status, &again.body) == (first.status, &first.body),
        "A replay must return the original status and body, byte for byte: what is not stored is rebuilt, and comes out \
         different.",
        "one answer was {}, another {}",
        shown(first),
        shown(again)
    );
    Ok(())
}

pub fn succeeded(answer: &PayResp) -> Result<(), Failure> {
    ensure!(
        (200..300).contains(&answer.status),
        "A request whose outcome is unknown, or that never reached the provider, has not failed.",
        "the provider would have charged, and the answer is {}",
        shown(answer)
    );
    Ok(())
}

pub fn names_its_charge(provider: &Provider, checkout: &Checkout, answer: &PayResp) -> Result<(), Failure> {
    let book = provider.book();
    let charge_id = book
        .charge(checkout.order())
        .map_or("none", |charge| &charge.charge_id);
    ensure!(
        String::from_utf8_lossy(&answer.body).contains(charge_id),
        "The answer is the merchant's receipt: it has to name the charge that was made.",
        "the charge is {charge_id}, and the answer {}",
        shown(answer)
    );
    Ok(())
}

/// The customer was charged, and once.
pub fn charged_once(provider: &Provider, checkout: &Checkout) -> Result<(), Failure> {
    let book = provider.book();
    let charges: Vec<_> = book
        .charged
        .iter()
        .filter(|charge| charge.order_id == checkout.order())
        .collect();
    let because = match charges[..] {
        [_] => return Ok(()),
        [] => "The merchant was told that the payment went through, and no money moved.",
        [first, second, ..] if first.key != second.key => {
            "Every attempt gives the provider another key, so the provider cannot recognise the retry."
        }
        [first, ..] if !book.lookups.contains(&first.key) => {
            "The later attempt charged without asking what had become of the earlier one: a crash after the charge leaves \
             no trace, or the trace is not followed."
        }
        _ => "The later attempt asked the provider about the earlier one, and charged all the same.",
    };
    let listed: Vec<_> = charges
        .iter()
        .map(|charge| {
            format!(
                "{} for instance {} under key {}",
                charge.charge_id, charge.door, charge.key
            )
        })
        .collect();
    Err(
        Failure::new(format!("{} charges for {}", charges.len(), checkout.order()))
            .because(because)
            .evidence(format!(
                "{} made: {}",
                Acquirer::of(&checkout.merchant),
                listed.join(", ")
            )),
    )
}

/// The customer was not charged.
pub fn uncharged(provider: &Provider, checkout: &Checkout) -> Result<(), Failure> {
    let book = provider.book();
    let charge = book.charge(checkout.order());
    ensure!(
        charge.is_none(),
        "A decline that is the answer must be true: another attempt has charged since.",
        "the merchant was told that the payment was declined, and the customer was charged"
    );
    Ok(())
}

/// An answer, as it is shown in a report.
pub fn shown(answer: &PayResp) -> String {
    format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
}
