//! Sweeps find what they should, at every point, the same each time.

use super::support::{Bed, bed, pool};
use harness::sweep::{self, After, Case, Fate, Points, Scene};
use harness::{Failure, Outcome};
use sqlx::PgPool;
use std::sync::Mutex;

/// Moves money between two accounts, in two statements, with or without a transaction.
struct Transfer {
    bed: Bed,
    atomic: bool,
    _reporting: Box<dyn Send + Sync>,
}

impl Transfer {
    async fn build(case: Case, atomic: bool) -> Result<Transfer, Failure> {
        let bed = bed().await;
        bed.truth("INSERT INTO t VALUES (1, '10'), (2, '10') RETURNING 1")
            .await;
        let reporting = Box::new(bed.tap().report_to(&case.points));
        Ok(Transfer {
            bed,
            atomic,
            _reporting: reporting,
        })
    }
}

impl Scene for Transfer {
    type Subject = PgPool;
    type Answer = sqlx::Result<()>;

    async fn boot(&self) -> Result<PgPool, Failure> {
        Ok(pool(&self.bed.pg.url(), 1).await)
    }

    async fn act(&self, pool: &PgPool) -> sqlx::Result<()> {
        let take = "UPDATE t SET v = (v::int - 1)::text WHERE id = 1";
        let give = "UPDATE t SET v = (v::int + 1)::text WHERE id = 2";
        if self.atomic {
            let mut tx = pool.begin().await?;
            sqlx::query(take).execute(&mut *tx).await?;
            sqlx::query(give).execute(&mut *tx).await?;
            tx.commit().await
        } else {
            sqlx::query(take).execute(pool).await?;
            sqlx::query(give).execute(pool).await?;
            Ok(())
        }
    }

    async fn verify(&self, after: After<PgPool, sqlx::Result<()>>) -> Outcome {
        if after.disturbed.is_none() && after.number == 0 {
            harness::ensure!(
                matches!(after.answer, Some(Ok(()))),
                "nothing disturbed it.",
                "an error"
            );
        }
        // What was cut or shut down is over when the server says so.
        if let Some(pool) = after.subject {
            pool.close().await;
        }
        self.bed
            .tap()
            .until("the end", super::support::SOON, |c| c.sessions_open == 0)
            .await?;
        let total = self.bed.truth("SELECT sum(v::int) FROM t").await;
        harness::ensure!(total == "20", "half a transfer was kept.", "a total of {total}");
        Ok(())
    }
}

#[tokio::test]
async fn an_atomic_transfer_survives_every_cut_abort_and_crash() {
    let mut points = Vec::new();
    for _ in 0..3 {
        let swept = sweep::cut(|case| Transfer::build(case, true)).await.unwrap();
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
    let aborted = sweep::abort(|case| Transfer::build(case, true)).await.unwrap();
    let crashed = sweep::crash(|case| Transfer::build(case, true)).await.unwrap();
    assert_eq!(
        (aborted.points.len(), crashed.points.len()),
        (points[0].len(), points[0].len())
    );
    assert!(aborted.unreached.is_empty() && crashed.unreached.is_empty());
}

#[tokio::test]
async fn half_a_transfer_is_found_by_each_kind_of_sweep() {
    let cut = sweep::cut(|case| Transfer::build(case, false)).await.unwrap_err();
    let abort = sweep::abort(|case| Transfer::build(case, false))
        .await
        .unwrap_err();
    let crash = sweep::crash(|case| Transfer::build(case, false))
        .await
        .unwrap_err();
    for failure in [cut, abort, crash] {
        assert_eq!(failure.to_string(), "a total of 19");
        assert!(format!("{failure:?}").contains("point "), "{failure:?}");
    }
}

/// A stub provider that is charged between two statements, and forgets nothing.
struct Charge {
    bed: Bed,
    points: Points,
    charges: Mutex<usize>,
    _reporting: Box<dyn Send + Sync>,
}

impl Charge {
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
        Ok(pool(&self.bed.pg.url(), 1).await)
    }

    async fn act(&self, pool: &PgPool) -> bool {
        let claimed = sqlx::query("INSERT INTO t VALUES (1, 'started')")
            .execute(pool)
            .await;
        if claimed.is_err() || self.charge().await.is_err() {
            return false;
        }
        sqlx::query("UPDATE t SET v = 'done' WHERE id = 1")
            .execute(pool)
            .await
            .is_ok()
    }

    async fn verify(&self, after: After<PgPool, bool>) -> Outcome {
        if let Some(pool) = &after.subject {
            pool.close().await;
        }
        self.bed
            .tap()
            .until("the end", super::support::SOON, |c| c.sessions_open == 0)
            .await?;
        let charges = *self.charges.lock().unwrap();
        let claims = self.bed.truth("SELECT count(*) FROM t").await;
        harness::ensure!(
            charges == 0 || claims == "1",
            "charged before the claim.",
            "{charges} charges"
        );
        harness::ensure!(
            after.answer != Some(true) || charges == 1,
            "a lie.",
            "{charges} charges"
        );
        Ok(())
    }
}

#[tokio::test]
async fn a_providers_messages_are_points_between_the_databases() {
    let build = |case: Case| async move {
        let bed = bed().await;
        let reporting = Box::new(bed.tap().report_to(&case.points));
        Ok(Charge {
            bed,
            points: case.points,
            charges: Mutex::default(),
            _reporting: reporting,
        })
    };
    let swept = sweep::cut(build).await.unwrap();
    let provider: Vec<usize> = (0..swept.points.len())
        .filter(|&i| swept.points[i].contains("provider"))
        .collect();
    assert_eq!(provider.len(), 2, "{:?}", swept.points);
    assert!(provider[0] > 0 && provider[1] < swept.points.len() - 1);
    sweep::abort(build).await.unwrap();
    sweep::crash(build).await.unwrap();
}
