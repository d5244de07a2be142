//! The provider through the client that the service has, so that the two agree about every answer.

use super::*;
use crate::subject::{Charge, HttpPsp, Psp, PspError, Receipt};
use crate::turn::Gate;

fn psp(provider: &Provider) -> HttpPsp {
    HttpPsp {
        base_url: provider.door("test"),
    }
}

fn charge(acquirer: Acquirer) -> Charge {
    Charge {
        merchant: acquirer.merchant().to_owned(),
        order_id: "order".to_owned(),
        amount_cents: 1_299,
        currency: "EUR".to_owned(),
        card: "tok_4242".to_owned(),
    }
}

async fn charged_twice(acquirer: Acquirer) -> (Receipt, Receipt, Receipt, usize) {
    let provider = Provider::start(&Handle::current()).unwrap();
    let psp = psp(&provider);
    // A key that has to be encoded to be part of a path.
    let key = "shop/a b%2F?#";
    assert_eq!(psp.lookup(key).await, Ok(None));
    let first = psp.charge(key, &charge(acquirer)).await.unwrap();
    let second = psp.charge(key, &charge(acquirer)).await.unwrap();
    let found = psp.lookup(key).await.unwrap().unwrap();
    (first, second, found, provider.book().charges("order"))
}

#[tokio::test]
async fn one_acquirer_charges_once_per_key() {
    let (first, second, found, charges) = charged_twice(Acquirer::OncePerKey).await;
    assert_eq!((&second, &found, charges), (&first, &first, 1));
}

#[tokio::test]
async fn the_other_charges_every_request_and_finds_the_first() {
    let (first, second, found, charges) = charged_twice(Acquirer::EveryRequest).await;
    assert_ne!(first, second);
    assert_eq!((&found, charges), (&first, 2));
}

#[tokio::test]
async fn turns_are_what_the_client_makes_of_them() {
    let provider = Provider::start(&Handle::current()).unwrap();
    let psp = psp(&provider);
    let turns = [
        (Effect::Decline, Err(PspError::Declined), 0),
        (Effect::Busy, Err(PspError::Unavailable), 0),
        (Effect::LoseRequest, Err(PspError::Timeout), 0),
        (Effect::LoseAnswer, Err(PspError::Timeout), 1),
        (Effect::Charge, Ok(()), 2),
    ];
    provider.script("order", turns.map(|(effect, ..)| Turn::new(effect)));
    for (effect, expected, charges) in turns {
        let answer = psp.charge("key", &charge(Acquirer::EveryRequest)).await;
        assert_eq!(answer.map(drop), expected, "{effect:?}");
        assert_eq!(provider.book().charges("order"), charges, "{effect:?}");
    }
    assert_eq!(provider.book().asked("order"), 5);
    provider.until_idle("order").await.unwrap();
}

#[tokio::test]
async fn a_failing_look_up_says_nothing() {
    let provider = Provider::start(&Handle::current()).unwrap();
    let psp = psp(&provider);
    psp.charge("key", &charge(Acquirer::EveryRequest)).await.unwrap();
    provider.fail_lookups(
        "order",
        &[StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE],
    );
    assert_eq!(psp.lookup("another key").await, Ok(None));
    assert_eq!(psp.lookup("key").await, Err(PspError::Timeout));
    assert_eq!(psp.lookup("key").await, Err(PspError::Unavailable));
    assert!(psp.lookup("key").await.unwrap().is_some());
}

#[tokio::test]
async fn the_provider_goes_on_when_its_client_has_gone() {
    let provider = Provider::start(&Handle::current()).unwrap();
    let gate = Gate::default();
    provider.script("order", [Turn::new(Effect::Charge).request_held(&gate)]);
    let psp = psp(&provider);
    let client = tokio::spawn(async move { psp.charge("key", &charge(Acquirer::EveryRequest)).await });
    gate.until_arrived(1).await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    assert_eq!(provider.book().charges("order"), 0);
    gate.open();
    provider.until_idle("order").await.unwrap();
    assert_eq!(provider.book().charges("order"), 1);
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let provider = Provider::start(&Handle::current()).unwrap();
    let psp = psp(&provider);
    drop(provider);
    tokio::task::yield_now().await;
    let answer = psp.charge("key", &charge(Acquirer::EveryRequest)).await;
    assert_eq!(answer.map(drop), Err(PspError::Unavailable));
}
