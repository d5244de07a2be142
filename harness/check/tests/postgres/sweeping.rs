//! Sweeps find what they should, at every point, the same each time. The cases of a sweep share a database; each has
//! its own tap, its own pool and its own rows.

use super::support::{Bed, SOON, bed, pool};
use harness::postgres::{PgTap, RuleGuard};
use harness::sweep::{self, After, Case, Fate, Points, Scene};
use harness::{Failure, Outcome, ensure};
use sqlx::PgPool;
use std::sync::{Arc, Mutex};

/// Moves money between two accounts, in two statements, with or without a transaction.
struct Transfer {
    bed: Arc<Bed>,
    tap: Arc<PgTap>,
    atomic: bool,
    /// Of the two accounts, which no other case touches.
    ids: [i64; 2],
    _reporting: (RuleGuard, RuleGuard),
}

impl Transfer {
    async fn build(bed: Arc<Bed>, case: Case, atomic: bool) -> Result<Transfer, Failure> {
        let tap = bed.pg.another_tap().await?;
        let from = i64::try_from(case.number).unwrap() * 2;
        let ids = [from, from + 1];
        bed.truth(&format!(
            "INSERT INTO t VALUES ({}, '10'), ({}, '10') ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING 1",
            ids[0], ids[1]
        ))
        .await;
        let reporting = tap.report_to(&case.points);
        Ok(Transfer {
            bed,
            tap,
            atomic,
            ids,
            _reporting: reporting,
        })
    }
}

impl Scene for Transfer {
    type Subject = PgPool;
    type Answer = sqlx::Result<()>;

    async fn boot(&self) -> Result<PgPool, Failure> {
        Ok(pool(&self.tap.url(), 1).await)
    }

    async fn act(&self, pool: &PgPool) -> sqlx::Result<()> {
        let take = sqlx::query("UPDATE t SET v = (v::int - 1)::text WHERE id = $1").bind(self.ids[0]);
        let give = sqlx::query("UPDATE t SET v = (v::int + 1)::text WHERE id = $1").bind(self.ids[1]);
        if self.atomic {
            let mut tx = pool.begin().await?;
            take.execute(&mut *tx).await?;
            give.execute(&mut *tx).await?;
            tx.commit().await
        } else {
            take.execute(pool).await?;
            give.execute(pool).await?;
            Ok(())
        }
    }

    async fn verify(&self, after: After<PgPool, sqlx::Result<()>>) -> Outcome {
        if after.number == 0 {
            ensure!(
                matches!(after.answer, Some(Ok(()))),
                "nothing disturbed it.",
                "an error"
            );
        }
        // What was cut or shut down is over when the server says so.
        if let Some(pool) = after.subject {
            pool.close().await;
        }
        self.tap
            .until("the end", SOON, |counts| counts.sessions_open == 0)
            .await?;
        let [from, to] = self.ids;
        let sum = format!("SELECT sum(v::int) FROM t WHERE id IN ({from}, {to})");
        let total = self.bed.truth(&sum).await;
        ensure!(total == "20", "half a transfer was kept.", "a total of {total}");
        Ok(())
    }
}

async fn finish(bed: Arc<Bed>) {
    Arc::into_inner(bed)
        .expect("every scene is gone after its sweep")
        .finish()
        .await;
}

#[tokio::test]
async fn an_atomic_transfer_survives_every_cut_abort_and_crash() {
    let bed = Arc::new(bed().await);
    let build = |case| Transfer::build(bed.clone(), case, true);
    let mut points = Vec::new();
    for _ in 0..3 {
        let swept = sweep::cut(build).await.unwrap();
        assert_eq!(swept.unreached, [] as [usize; 0]);
        points.push(swept.points);
    }
    assert_eq!(points[0], points[1]);
    assert_eq!(points[1], points[2]);
    let told = points[0].join("\n");
    assert!(
        told.contains("client's Query `BEGIN`") && told.contains("answer to Query `COMMIT`"),
        "{told}"
    );
    let aborted = sweep::abort(build).await.unwrap();
    let crashed = sweep::crash(build).await.unwrap();
    assert_eq!((&aborted.points, &crashed.points), (&points[0], &points[0]));
    assert!(aborted.unreached.is_empty() && crashed.unreached.is_empty());
    finish(bed).await;
}

#[tokio::test]
async fn half_a_transfer_is_found_by_each_kind_of_sweep() {
    let bed = Arc::new(bed().await);
    let build = |case| Transfer::build(bed.clone(), case, false);
    let cut = sweep::cut(build).await.unwrap_err();
    let abort = sweep::abort(build).await.unwrap_err();
    let crash = sweep::crash(build).await.unwrap_err();
    for failure in [cut, abort, crash] {
        assert_eq!(failure.to_string(), "a total of 19");
        assert!(format!("{failure:?}").contains("point "), "{failure:?}");
    }
    finish(bed).await;
}

/// A stub provider that is charged between two statements, and forgets nothing.
struct Charge {
    bed: Arc<Bed>,
    tap: Arc<PgTap>,
    points: Points,
    charges: Mutex<usize>,
    id: i64,
    _reporting: (RuleGuard, RuleGuard),
}

impl Charge {
    async fn build(bed: Arc<Bed>, case: Case, base: i64) -> Result<Charge, Failure> {
        let tap = bed.pg.another_tap().await?;
        let reporting = tap.report_to(&case.points);
        let id = base + i64::try_from(case.number).unwrap();
        Ok(Charge {
            bed,
            tap,
            points: case.points,
            charges: Mutex::default(),
            id,
            _reporting: reporting,
        })
    }

    async fn charge(&self) -> Result<(), &'static str> {
        if self.points.pass("request to the provider").await == Fate::Lose {
            return Err("not sent");
        }
        *self.charges.lock().unwrap() += 1;
        match self.points.pass("the provider's answer").await {
            Fate::Go => Ok(()),
            Fate::Lose => Err("no answer"),
        }
    }
}

impl Scene for Charge {
    type Subject = PgPool;
    type Answer = bool;

    async fn boot(&self) -> Result<PgPool, Failure> {
        Ok(pool(&self.tap.url(), 1).await)
    }

    async fn act(&self, pool: &PgPool) -> bool {
        let claim = sqlx::query("INSERT INTO t VALUES ($1, 'started')").bind(self.id);
        if claim.execute(pool).await.is_err() || self.charge().await.is_err() {
            return false;
        }
        sqlx::query("UPDATE t SET v = 'done' WHERE id = $1")
            .bind(self.id)
            .execute(pool)
            .await
            .is_ok()
    }

    async fn verify(&self, after: After<PgPool, bool>) -> Outcome {
        if let Some(pool) = &after.subject {
            pool.close().await;
        }
        self.tap
            .until("the end", SOON, |counts| counts.sessions_open == 0)
            .await?;
        let charges = *self.charges.lock().unwrap();
        let claims = self
            .bed
            .truth(&format!("SELECT count(*) FROM t WHERE id = {}", self.id))
            .await;
        ensure!(
            charges == 0 || claims == "1",
            "charged before the claim.",
            "{charges} charges"
        );
        ensure!(
            after.answer != Some(true) || charges == 1,
            "a lie.",
            "{charges} charges"
        );
        Ok(())
    }
}

#[tokio::test]
async fn a_providers_messages_are_points_between_the_databases() {
    let bed = Arc::new(bed().await);
    let swept = sweep::cut(|case| Charge::build(bed.clone(), case, 0))
        .await
        .unwrap();
    let provider = |point: &&String| point.contains("provider");
    assert_eq!(
        swept.points.iter().filter(provider).count(),
        2,
        "{:?}",
        swept.points
    );
    assert!(
        ![swept.points.first(), swept.points.last()]
            .iter()
            .flatten()
            .any(provider)
    );
    sweep::abort(|case| Charge::build(bed.clone(), case, 1000))
        .await
        .unwrap();
    sweep::crash(|case| Charge::build(bed.clone(), case, 2000))
        .await
        .unwrap();
    finish(bed).await;
}
