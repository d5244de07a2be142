//! The probes that ask the server.

use super::support::{bed, harness_thread, job, pool};
use harness::postgres::Postgres;

#[tokio::test]
async fn blocks_are_counted_per_call_for_this_role_only() {
    let bed = bed().await;
    bed.truth("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 10000) i; SELECT 1")
        .await;
    bed.vacuum().await;
    let mut stats = bed.pg.statement_stats().await.unwrap();
    let pool = bed.pool(1).await;
    stats.reset().await.unwrap();
    for id in 0..12_i64 {
        sqlx::query("SELECT v FROM t WHERE id = $1")
            .bind(id)
            .execute(&pool)
            .await
            .unwrap();
    }
    bed.truth("SELECT count(*) FROM t").await;
    let read = stats.read().await.unwrap();
    assert_eq!(read.len(), 1, "{read:?}");
    assert_eq!((read[0].calls, read[0].rows), (12, 11));
    // The first plans read the catalogue; the lookups themselves go through two levels and the table.
    assert!(read[0].blocks_per_call() < 8.0, "{read:?}");
    assert_eq!(stats.blocks().await.unwrap(), read[0].blocks);
    stats.reset().await.unwrap();
    assert_eq!(stats.read().await.unwrap(), []);
    pool.close().await;
    bed.finish().await;
}

#[tokio::test]
async fn index_entries_are_counted_the_same_three_times() {
    let bed = bed().await;
    let pool = bed.pool(1).await;
    for sql in [
        "CREATE INDEX t_v ON t (v)",
        "CREATE INDEX t_hash ON t USING hash (v)",
    ] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    sqlx::query("INSERT INTO t SELECT i, 'a' || i FROM generate_series(1, 500) i")
        .execute(&pool)
        .await
        .unwrap();
    let mut writes = bed.pg.index_writes().await.unwrap();
    assert_eq!(writes.read().await.unwrap(), []);
    for round in 0..3 {
        writes.restart().await.unwrap();
        sqlx::query("UPDATE t SET v = $1 || id")
            .bind(format!("b{round}"))
            .execute(&pool)
            .await
            .unwrap();
        // As other checks of a run do to the log: segments end, and a checkpoint gives the old ones up.
        for _ in 0..2 {
            bed.truth("SELECT pg_switch_wal()").await;
            bed.truth("CREATE TABLE filler AS SELECT 1; DROP TABLE filler; SELECT 1")
                .await;
            bed.truth("CHECKPOINT; SELECT 1").await;
        }
        let read = writes.read().await.unwrap();
        let entries: Vec<(&str, u64)> = read.iter().map(|w| (w.index.as_str(), w.entries)).collect();
        assert_eq!(
            entries,
            [("t_pkey", 500), ("t_v", 500), ("t_hash", 500)],
            "{read:?}"
        );
        assert!(read.iter().all(|write| write.table == "t"));
    }
    let sizes = bed.pg.sizes().await.unwrap();
    let indexes = sizes
        .iter()
        .filter(|relation| relation.index_of.as_deref() == Some("t"));
    assert_eq!(indexes.count(), 3, "{sizes:?}");
    assert!(sizes.iter().all(|relation| relation.size_bytes > 0));
    pool.close().await;
    bed.finish().await;
}

#[tokio::test]
async fn the_plan_is_the_one_that_the_driver_gets() {
    let bed = bed().await;
    bed.truth(
        "CREATE TYPE status AS ENUM ('active', 'gone');
         CREATE TABLE u AS SELECT i AS id, CASE WHEN i % 30 = 0 THEN 'active' ELSE 'gone' END::status AS status
           FROM generate_series(1, 50000) i;
         CREATE INDEX u_active ON u (id) WHERE status = 'active';
         GRANT SELECT ON u TO PUBLIC; SELECT 1",
    )
    .await;
    bed.vacuum().await;
    let sql = "SELECT id FROM u WHERE status = $1::status ORDER BY id LIMIT 5";
    // Left to the server, the parameter is of the enum's type, and the partial index serves until the plan is generic.
    let inferred = bed.pg.plan_as_prepared(sql, &[Some("active")], 1).await.unwrap();
    assert!(inferred.contains("u_active"), "{inferred}");
    // The driver declares it as text, which only a cast at run time makes a status: no index, from the first time on.
    let pool = bed.pool(1).await;
    sqlx::query(sql).bind("active").execute(&pool).await.unwrap();
    let declared = bed.pg.plan_as_prepared(sql, &[Some("active")], 1).await.unwrap();
    assert!(
        declared.contains("Seq Scan") && !declared.contains("u_active"),
        "{declared}"
    );
    let wrong = bed
        .pg
        .plan_as_prepared("SELECT nosuch FROM u", &[], 1)
        .await
        .unwrap_err();
    assert!(wrong.to_string().contains("42703"), "{wrong}");
    pool.close().await;
    bed.finish().await;
}

#[tokio::test]
async fn a_session_past_the_tap_is_always_seen() {
    // Over before the check ends, still there, and one among many.
    for (linger, honest) in [(false, 0), (true, 0), (false, 20), (true, 20)] {
        let bed = bed().await;
        let pool = bed.pool(5).await;
        for _ in 0..honest {
            pool.acquire().await.unwrap().close().await.unwrap();
        }
        let past = pool_past_the_tap(&bed.pg).await;
        if !linger {
            past.close().await;
        }
        pool.close().await;
        let failure = bed.pg.finish().await.unwrap_err();
        assert!(
            failure.to_string().starts_with("connected past the tap"),
            "{failure:?}"
        );
        past.close().await;
    }
}

async fn pool_past_the_tap(pg: &Postgres) -> sqlx::PgPool {
    let tapped = pg.url();
    let (before, after) = tapped.split_once('@').unwrap();
    let database = after.split_once('/').unwrap().1;
    let job = job(None);
    pool(&format!("{before}@{}:{}/{database}", job.host, job.port), 1).await
}

#[tokio::test]
async fn sessions_that_went_through_the_tap_are_never_blamed() {
    for round in 0..20_u64 {
        let bed = bed().await;
        let pool = bed.pool(4).await;
        let cut = bed.tap().cut_at_frame(round + 1);
        for i in 0..8_i64 {
            sqlx::query("INSERT INTO t VALUES ($1, 'a')")
                .bind(i)
                .execute(&pool)
                .await
                .ok();
        }
        drop(cut);
        let asking = tokio::spawn({
            let pool = pool.clone();
            async move { sqlx::query("SELECT pg_sleep(60)").execute(&pool).await }
        });
        bed.tap()
            .until("under way", super::support::SOON, |counts| counts.in_flight == 1)
            .await
            .unwrap();
        // Not closed in an orderly way: the pool goes down with what it was doing.
        asking.abort();
        bed.tap().cut_all();
        drop(pool);
        bed.finish().await;
    }
}

#[tokio::test]
async fn what_a_template_holds_belongs_to_the_role() {
    let seed = bed().await;
    seed.truth(
        "CREATE TYPE mood AS ENUM ('good'); CREATE SEQUENCE numbers; CREATE VIEW w AS SELECT id FROM t;
         CREATE TABLE s (id bigserial PRIMARY KEY, mood mood);
         CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT 1",
    )
    .await;
    seed.tap().cut_all();
    let template = seed.pg.database().to_owned();
    let alone = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND datname = ";
    let mut admin = pgwire::Client::connect(&services::testing::postgres_admin())
        .await
        .unwrap();
    harness::eventually(super::support::SOON, "an unused template", async || {
        admin
            .query(&format!("{alone}'{template}'"))
            .await
            .unwrap()
            .is_empty()
            .then_some(())
    })
    .await
    .unwrap();
    let pg = Postgres::make(&job(Some(&template)), &harness_thread(), "secret".to_owned())
        .await
        .unwrap();
    let mut owner = pg.as_subject().await.unwrap();
    for sql in [
        "CREATE INDEX ON s (mood)",
        "ALTER TABLE t ADD COLUMN more int",
        "ALTER TYPE mood ADD VALUE 'bad'",
        "DROP VIEW w",
        "DROP FUNCTION f()",
        "DROP SEQUENCE numbers",
        "ALTER SEQUENCE s_id_seq RESTART",
        "DROP TABLE s",
        "DROP SCHEMA public CASCADE",
    ] {
        owner.execute(sql).await.unwrap();
    }
    drop(owner);
    pg.finish().await.unwrap();
    seed.finish().await;
}
