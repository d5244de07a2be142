// The tests that were green when it broke. They need PostgreSQL and start one of their own.

use slow_query::{Directory, Error, Status, migrate};
use sqlx::PgPool;

/// Twelve users, a minute apart; every other one is active, and the last two signed up at one moment.
const USERS: &str = "
    INSERT INTO users (email, region, status, verified, bio, created_at)
    SELECT 'User' || n || '@example.com',
           CASE WHEN n <= 10 THEN 'eu' ELSE 'us' END,
           CASE WHEN n % 2 = 0 THEN user_status 'active' ELSE user_status 'pending' END,
           n % 3 = 0,
           'Number ' || n,
           timestamptz '2024-05-01 12:00:00.25+00' + least(n, 9) * interval '1 minute'
    FROM generate_series(1, 12) AS n";

async fn directory(database: &services::testing::Database) -> Directory {
    let pool = PgPool::connect(&database.url()).await.unwrap();
    migrate(&pool).await.unwrap();
    sqlx::query(USERS).execute(&pool).await.unwrap();
    Directory::new(pool)
}

#[tokio::test]
async fn a_region_is_listed_newest_first_page_by_page() {
    let database = services::testing::postgres();
    let directory = directory(&database).await;

    let first = directory.list_active("eu", None, 3).await.unwrap();
    let emails: Vec<&str> = first.users.iter().map(|user| user.email.as_str()).collect();
    assert_eq!(
        emails,
        ["User10@example.com", "User8@example.com", "User6@example.com"]
    );
    assert!(
        first
            .users
            .iter()
            .all(|user| user.status == Status::Active && user.region == "eu")
    );

    let second = directory.list_active("eu", first.next, 3).await.unwrap();
    let emails: Vec<&str> = second.users.iter().map(|user| user.email.as_str()).collect();
    assert_eq!(emails, ["User4@example.com", "User2@example.com"]);
    assert_eq!(second.next, None);
}

#[tokio::test]
async fn a_change_of_status_shows_in_list_and_count() {
    let database = services::testing::postgres();
    let directory = directory(&database).await;
    assert_eq!(directory.count_active("us").await.unwrap(), 1);

    let user = directory
        .find_by_email("user11@EXAMPLE.com")
        .await
        .unwrap()
        .unwrap();
    directory.set_status(user.id, Status::Active).await.unwrap();

    assert_eq!(directory.count_active("us").await.unwrap(), 2);
    let page = directory.list_active("us", None, 10).await.unwrap();
    assert!(page.users.iter().any(|listed| listed.id == user.id));
}

#[tokio::test]
async fn a_bio_is_replaced() {
    let database = services::testing::postgres();
    let directory = directory(&database).await;
    let user = directory
        .find_by_email("User3@example.com")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((user.bio.as_str(), user.verified), ("Number 3", true));

    directory.set_bio(user.id, "Gone fishing").await.unwrap();

    let user = directory
        .find_by_email("User3@example.com")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(user.bio, "Gone fishing");
}

#[tokio::test]
async fn nobody_is_not_an_empty_answer() {
    let database = services::testing::postgres();
    let directory = directory(&database).await;
    assert_eq!(directory.find_by_email("nobody@example.com").await.unwrap(), None);
    let error = directory.set_status(404, Status::Closed).await.unwrap_err();
    assert!(matches!(error, Error::UnknownUser(404)), "{error}");
}

#[tokio::test]
async fn migrating_twice_is_fine() {
    let database = services::testing::postgres();
    let pool = PgPool::connect(&database.url()).await.unwrap();
    migrate(&pool).await.unwrap();
    migrate(&pool).await.unwrap();
}
