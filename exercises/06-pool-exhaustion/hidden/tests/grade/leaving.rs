//! Callers that go away.

use std::sync::Arc;

use harness::postgres::{Postgres, RuleGuard};
use harness::sweep::{self, After, Case, Scene};
use harness::{Check, Failure, Outcome, ensure};
use pool_exhaustion_hidden::calls::Gets;
use pool_exhaustion_hidden::stage::{SOON, Stage, database};
use pool_exhaustion_hidden::subject::{OrderError, OrderId};
use pool_exhaustion_hidden::traffic::{FLAT_CENTS, fresh, is_shop_order, placed};

use super::overload::{fill, wait_for};

const LEAKED: &str = "A caller that goes away takes its place with it: what counts who is inside is only put right behind an \
                      `.await` that is never reached.";

pub async fn places(cx: &Check) -> Outcome {
    let max_db = cx.draw("max_db", &[2, 3, 4]);
    let queue = cx.draw("queue", &[10, 25]);
    let stage = Stage::set(cx, max_db, queue, |_| ()).await?;
    stage.warm().await?;
    let before = capacity(
        &stage,
        "`max_db` requests may be in the database at one time, and no fewer.",
    )
    .await?;

    for round in 1..=3 {
        cx.stage(format!("round {round}: those who wait go away"));
        let gate = stage.tap.hold_requests(|request| request.runs_data());
        let inside = Gets::send(&stage.orders, max_db);
        gate.until_waiting(max_db, SOON).await.map_err(|failure| {
            failure.because(LEAKED).evidence(format!(
                "this is round {round}; the callers of the one before went away"
            ))
        })?;
        let waiting = Gets::send(&stage.orders, queue);
        wait_for(&stage, |stats| stats.queued == queue).await;
        waiting.abandon().await;
        wait_for(&stage, |stats| stats.queued == 0).await;
        let next = Gets::send(&stage.orders, queue);
        wait_for(&stage, |stats| stats.queued == queue).await;

        cx.stage(format!("round {round}: those who are inside go away as well"));
        inside.abandon().await;
        gate.open();
        drop(gate);
        next.all_right(SOON, "after others had left the queue", LEAKED)
            .await?;
        stage.settle().await;
    }
    let after = capacity(&stage, LEAKED).await?;
    ensure!(
        after <= before.max(max_db),
        "A caller that goes away gives back one place, once.",
        "{after} statements were in the database at one time after callers had gone away, and {before} before; max_db is \
         {max_db}"
    );
    stage.nothing_left_open().await
}

/// How many requests are in the database when there are more of them than it may have.
async fn capacity(stage: &Stage, because: &str) -> Result<usize, Failure> {
    let gate = stage.tap.hold_requests(|request| request.runs_data());
    let gets = fill(stage).await?;
    gate.until_waiting(stage.cfg.max_db, SOON)
        .await
        .map_err(|failure| failure.because(because))?;
    // Whoever has too much room takes it now.
    stage.settle().await;
    let inside = gate.waiting();
    gate.open();
    drop(gate);
    gets.all_right(SOON, "with a full house", because).await?;
    Ok(inside)
}

/// A call that is given up at one of its messages, on a replica with one connection: if that is lost, all is.
struct GivenUp {
    pg: Arc<Postgres>,
    case: Case,
    what: What,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Place,
    Get,
}

struct Booted {
    stage: Stage,
    _reports: (RuleGuard, RuleGuard),
}

impl Scene for GivenUp {
    type Subject = Booted;
    type Answer = Result<(), OrderError>;

    async fn boot(&self) -> Result<Booted, Failure> {
        let stage = Stage::on(&self.pg, 1, 4, |_| ()).await?;
        let warm = fresh("warm", self.number(1_000));
        stage
            .orders
            .place(warm)
            .await
            .map_err(|err| Failure::new(format!("with nothing in the way, an order got {err:?}")))?;
        Gets::send(&stage.orders, 1)
            .all_right(SOON, "with nothing in the way", "A quiet database answers.")
            .await?;
        stage.settle().await;
        let reports = stage.tap.report_to(&self.case.points);
        Ok(Booted {
            stage,
            _reports: reports,
        })
    }

    async fn act(&self, booted: &Booted) -> Self::Answer {
        match self.what {
            What::Place => booted
                .stage
                .orders
                .place(fresh("given-up", self.number(0)))
                .await
                .map(drop),
            What::Get => booted.stage.orders.get(OrderId(7)).await.map(drop),
        }
    }

    async fn verify(&self, after: After<Booted, Self::Answer>) -> Outcome {
        let Some(booted) = after.subject else {
            return Ok(());
        };
        let stage = &booted.stage;
        if let Some(Err(err)) = after.answer {
            return Err(Failure::new(format!(
                "a call that nobody disturbed but by leaving got {err:?}"
            )));
        }
        stage.nothing_left_open().await?;
        // The one connection serves again, rightly, and twice: the first may have had to wait for it.
        for _ in 0..2 {
            Gets::send(&stage.orders, 1)
                .all_right(
                    SOON,
                    "after a call was given up",
                    "Whatever a call held when it was given up is free again: its place, its connection, its transaction.",
                )
                .await?;
        }
        let next = fresh("next", self.number(0));
        let id = stage
            .orders
            .place(next.clone())
            .await
            .map_err(|err| Failure::new(format!("after a call was given up, an order got {err:?}")))?;
        let stored = stage.orders.get(id).await;
        ensure!(
            stored.as_ref() == Ok(&placed(id, &next, FLAT_CENTS)),
            "A connection that is given back in mid-transaction or mid-answer serves the next request with what was left \
             on it.",
            "after a call was given up, an order that was placed came back as {stored:?}"
        );
        stage.nothing_left_open().await?;
        self.whole(stage).await
    }
}

impl GivenUp {
    fn number(&self, offset: u64) -> u64 {
        let kind = match self.what {
            What::Place => 0,
            What::Get => 500,
        };
        self.case.number as u64 + kind + offset
    }

    /// What was placed is there as a whole, or not at all: read past the replica, once its last transaction is over.
    async fn whole(&self, stage: &Stage) -> Outcome {
        let mut admin = stage.pg.admin().await?;
        let sql = "SELECT count(*) FROM orders o WHERE reference !~ '^shop-' AND id > 60
                    AND (SELECT count(*) FROM order_events e WHERE e.order_id = o.id) <> 1";
        let torn = stage.number(&mut admin, sql).await?;
        admin.close().await.ok();
        ensure!(
            torn == 0,
            "An order and its event are stored together, or neither is.",
            "{torn} orders are stored without their event"
        );
        Ok(())
    }
}

pub async fn anywhere(cx: &Check) -> Outcome {
    let pg = database(cx).await?;
    for (what, words) in [(What::Place, "an order"), (What::Get, "a look at an order")] {
        cx.stage(format!("{words} is given up at each of its messages"));
        let pg = pg.clone();
        let build = move |case| {
            let pg = pg.clone();
            async move { Ok(GivenUp { pg, case, what }) }
        };
        let sweep = sweep::Sweep {
            side_by_side: 4,
            ..sweep::Sweep::default()
        };
        let swept = sweep.abort(build).await?;
        cx.note(format!("{words} has {} points", swept.points.len()));
        ensure!(
            !swept.points.is_empty(),
            "The service must reach its database by the address that it was given.",
            "{words} sent nothing to the database"
        );
    }
    // An order that is there can be read by anybody.
    let stage = Stage::on(&pg, 1, 4, |_| ()).await?;
    is_shop_order(1, &stage.orders.get(OrderId(1)).await, "in the end")
}
