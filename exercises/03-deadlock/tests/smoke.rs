// What the service was shipped with: one customer after the other.

use deadlock::{Bank, BankConfig, BankError, Health};
use sqlx::PgPool;

struct Branch {
    bank: Bank,
    _db: services::testing::Database,
}

/// Accounts 1 and 2 hold a hundred each, 3 holds nothing, 9 is the bank's own.
async fn branch() -> Branch {
    let db = services::testing::postgres();
    let pool = PgPool::connect(&db.url()).await.unwrap();
    deadlock::migrate(&pool).await.unwrap();
    for opened in [
        "INSERT INTO accounts (id, balance_cents, house) VALUES (1, 10000, false), (2, 10000, false), (3, 0, false), (9, 0, true)",
        "INSERT INTO transfers (to_id, cents) VALUES (1, 10000), (2, 10000)",
    ] {
        sqlx::query(opened).execute(&pool).await.unwrap();
    }
    let cfg = BankConfig {
        pool_size: 8,
        inbox: 64,
        max_closing: 4,
    };
    Branch {
        bank: Bank::start(cfg, &db.url()).await,
        _db: db,
    }
}

#[tokio::test]
async fn a_transfer_moves_money() {
    let Branch { bank, _db } = branch().await;
    let first = bank.transfer(1, 2, 2_500).await.unwrap();
    let second = bank.transfer(2, 1, 500).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(bank.balance(1).await, Ok(8_000));
    assert_eq!(bank.balance(2).await, Ok(12_000));
}

#[tokio::test]
async fn a_transfer_that_cannot_be_made_moves_nothing() {
    let Branch { bank, _db } = branch().await;
    assert_eq!(bank.transfer(1, 2, 10_001).await, Err(BankError::Insufficient));
    assert_eq!(bank.transfer(1, 1, 1).await, Err(BankError::SameAccount));
    assert_eq!(bank.balance(1).await, Ok(10_000));
    assert_eq!(bank.balance(2).await, Ok(10_000));
}

#[tokio::test]
async fn a_statement_tells_how_the_balance_came_about() {
    let Branch { bank, _db } = branch().await;
    let tx = bank.transfer(1, 2, 2_500).await.unwrap();
    let statement = bank.statement(1).await.unwrap();
    assert_eq!(statement.balance_cents, 7_500);
    let cents: Vec<i64> = statement.entries.iter().map(|entry| entry.cents).collect();
    assert_eq!(cents, [10_000, -2_500]);
    assert_eq!(statement.entries[1].tx, tx);
}

#[tokio::test]
async fn an_empty_account_can_be_closed() {
    let Branch { bank, _db } = branch().await;
    assert_eq!(bank.close_account(1).await, Err(BankError::NotEmpty));
    assert_eq!(bank.close_account(9).await, Err(BankError::House));
    assert_eq!(bank.close_account(3).await, Ok(()));
    assert_eq!(bank.balance(3).await, Err(BankError::NoAccount));
    assert_eq!(bank.transfer(1, 3, 1).await, Err(BankError::NoAccount));
}

#[tokio::test]
async fn the_service_is_healthy() {
    let Branch { bank, _db } = branch().await;
    assert_eq!(bank.health().await, Health::Ok);
}
