// What the service was shipped with: one customer, one instance, a provider that answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use double_charge::{Charge, IdemCfg, PayError, PayReq, Payments, Psp, PspError, Receipt};
use sqlx::PgPool;
use time::OffsetDateTime;

/// Charges every card but `tok_declined`.
#[derive(Default)]
struct Provider {
    charges: Mutex<Vec<(String, Receipt)>>,
    calls: AtomicUsize,
}

#[async_trait]
impl Psp for Provider {
    async fn charge(&self, psp_key: &str, r: &Charge) -> Result<Receipt, PspError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if r.card == "tok_declined" {
            return Err(PspError::Declined);
        }
        let mut charges = self.charges.lock().unwrap();
        let charge_id = format!("ch_{}", charges.len() + 1);
        let receipt = Receipt {
            charge_id,
            charged_at: "2024-11-29T09:00:00Z".to_owned(),
        };
        charges.push((psp_key.to_owned(), receipt.clone()));
        Ok(receipt)
    }

    async fn lookup(&self, psp_key: &str) -> Result<Option<Receipt>, PspError> {
        let charges = self.charges.lock().unwrap();
        Ok(charges
            .iter()
            .find(|(key, _)| key == psp_key)
            .map(|(_, receipt)| receipt.clone()))
    }
}

struct Shop {
    payments: Payments,
    provider: Arc<Provider>,
    _db: services::testing::Database,
}

async fn shop() -> Shop {
    let db = services::testing::postgres();
    let pool = PgPool::connect(&db.url()).await.unwrap();
    double_charge::migrate(&pool).await.unwrap();
    let provider = Arc::new(Provider::default());
    let cfg = IdemCfg {
        lease: Duration::from_secs(60),
        retention: Duration::from_secs(24 * 60 * 60),
    };
    Shop {
        payments: Payments::new(pool, provider.clone(), cfg).await,
        provider,
        _db: db,
    }
}

fn tea() -> PayReq {
    PayReq {
        order_id: "order-1".to_owned(),
        amount_cents: 1_299,
        currency: "EUR".to_owned(),
        card: "tok_4242".to_owned(),
    }
}

fn field(body: &[u8], name: &str) -> serde_json::Value {
    serde_json::from_slice::<serde_json::Value>(body).unwrap()[name].clone()
}

#[tokio::test]
async fn a_payment_charges_the_card() {
    let shop = shop().await;
    let answer = shop.payments.pay("harbour-tea", "key-1", &tea()).await.unwrap();
    assert_eq!(answer.status, 201);
    assert!(!answer.replayed);
    assert_eq!(field(&answer.body, "charge_id"), "ch_1");
    assert_eq!(field(&answer.body, "amount_cents"), 1_299);
}

#[tokio::test]
async fn the_same_key_pays_once() {
    let shop = shop().await;
    let first = shop.payments.pay("harbour-tea", "key-1", &tea()).await.unwrap();
    let again = shop.payments.pay("harbour-tea", "key-1", &tea()).await.unwrap();
    assert!(again.replayed);
    assert_eq!(field(&again.body, "charge_id"), field(&first.body, "charge_id"));
    assert_eq!(shop.provider.calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn another_key_pays_again() {
    let shop = shop().await;
    for (merchant, key) in [
        ("harbour-tea", "key-1"),
        ("harbour-tea", "key-2"),
        ("lantern-books", "key-1"),
    ] {
        let answer = shop.payments.pay(merchant, key, &tea()).await.unwrap();
        assert!(!answer.replayed);
    }
    assert_eq!(shop.provider.calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_key_with_another_request_is_refused() {
    let shop = shop().await;
    shop.payments.pay("harbour-tea", "key-1", &tea()).await.unwrap();
    let dearer = PayReq {
        amount_cents: 12_990,
        ..tea()
    };
    let refused = shop.payments.pay("harbour-tea", "key-1", &dearer).await;
    assert_eq!(refused, Err(PayError::KeyReuse));
}

#[tokio::test]
async fn a_declined_card_is_told() {
    let shop = shop().await;
    let declined = PayReq {
        card: "tok_declined".to_owned(),
        ..tea()
    };
    let answer = shop
        .payments
        .pay("harbour-tea", "key-1", &declined)
        .await
        .unwrap();
    assert_eq!(answer.status, 402);
    assert_eq!(field(&answer.body, "status"), "declined");
}

#[tokio::test]
async fn an_invalid_request_is_not_charged() {
    let shop = shop().await;
    let nothing = PayReq {
        amount_cents: 0,
        ..tea()
    };
    let refused = shop.payments.pay("harbour-tea", "key-1", &nothing).await;
    assert!(matches!(refused, Err(PayError::Invalid(_))), "{refused:?}");
    assert_eq!(shop.provider.calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn old_keys_are_purged() {
    let shop = shop().await;
    shop.payments.pay("harbour-tea", "key-1", &tea()).await.unwrap();
    let now = OffsetDateTime::now_utc();
    assert_eq!(shop.payments.purge(now).await, Ok(0));
    assert_eq!(
        shop.payments.purge(now + Duration::from_secs(25 * 60 * 60)).await,
        Ok(1)
    );
}

#[tokio::test]
async fn nothing_is_recovered_when_nothing_is_left_behind() {
    let shop = shop().await;
    shop.payments.pay("harbour-tea", "key-1", &tea()).await.unwrap();
    assert_eq!(shop.payments.recover().await, Ok(0));
}
