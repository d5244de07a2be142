//! A database that is down: when it is left alone, who finds out whether it is back, and what says nothing about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::postgres::{Gate, Kind};
use harness::{Check, Failure, Outcome, ensure, eventually, within};
use pool_exhaustion_hidden::calls::Gets;
use pool_exhaustion_hidden::outside::{NoCarrier, SlowCarrier};
use pool_exhaustion_hidden::stage::{SOON, Stage, database};
use pool_exhaustion_hidden::subject::{
    BreakerState, DbConfig, NewOrder, OrderError, OrderId, Orders, Search, SearchBy,
};
use pool_exhaustion_hidden::traffic::{fresh, is_shop_order};

/// Callers at once while the breaker is open, or about to try again.
const HERD: usize = 100;

const TRIED: &str = "While the database is down, every request that tries all the same waits in vain, and keeps the database \
                     from coming back.";
const STILL_SENT: &str = "Who waited for a turn when the breaker opened is sent to a database that is down all the same: \
                          whether a request may go is asked when its turn comes.";
const CARRIER_FIRST: &str = "An order that cannot be stored waits for the carrier first, and keeps its caller waiting for \
                             nothing: whether the database is well is asked before anything else.";
const RUN_OVER: &str =
    "All try at once as soon as the time is over: a database that is just coming back is run over.";
const NOBODY_TRIES: &str = "When its time is over somebody has to try, or it stays open for ever.";
const WEDGED: &str = "The slot of the request that finds out is given back only behind its `.await`: when that caller goes \
                      away, nobody ever tries again.";

fn unavailable(err: &OrderError) -> bool {
    matches!(err, OrderError::Unavailable { .. })
}

struct Down {
    stage: Stage,
    carrier: Arc<SlowCarrier>,
    failures: u32,
    open_for: Duration,
}

impl Down {
    /// A replica with a breaker, and nothing broken yet.
    async fn set(cx: &Check, shorten: impl FnOnce(&mut DbConfig)) -> Result<Down, Failure> {
        let failures = cx.draw("failures", &[3, 4, 5]);
        let open_for = cx.draw("open_for", &[Duration::from_secs(20), Duration::from_secs(45)]);
        let stage = Stage::set(cx, 5, 200, |cfg| {
            cfg.breaker.failures = failures;
            cfg.breaker.open_for = open_for;
            shorten(cfg);
        })
        .await?;
        // Nobody gets a quote as long as the database is what this is about.
        let carrier = Arc::new(SlowCarrier::new(490));
        let stage = stage.asking(carrier.clone()).await;
        stage.warm().await?;
        Ok(Down {
            stage,
            carrier,
            failures,
            open_for,
        })
    }

    /// So many requests in a row lose their connection.
    async fn fail(&self, times: u32) -> Outcome {
        let cutting = self.stage.tap.cut_before(|request| request.runs_data());
        for _ in 0..times {
            self.one_is_unavailable("with its connection broken").await?;
        }
        drop(cutting);
        Ok(())
    }

    /// A request is answered `Unavailable`.
    async fn one_is_unavailable(&self, when: &str) -> Outcome {
        let answer = within(
            SOON,
            &format!("an answer to a request {when}"),
            self.stage.orders.get(OrderId(1)),
        )
        .await?;
        ensure!(
            answer.as_ref().is_err_and(unavailable),
            "A database that does not answer is `Unavailable`: the caller may try another replica, or come back later.",
            "{when}, a request got {answer:?}"
        );
        Ok(())
    }

    /// A herd of requests is answered at once, and the database hears nothing of it.
    async fn is_left_alone(&self, when: &str) -> Outcome {
        self.stage.settle().await;
        let before = self.stage.work();
        let herd = Gets::send(&self.stage.orders, HERD);
        herd.until_answered(HERD, SOON, TRIED).await?;
        let served = herd.right_or(unavailable, when, TRIED)?;
        let work = self.stage.work().since(before);
        ensure!(
            work.is_nothing() && served == 0,
            TRIED,
            "{when}, {HERD} requests came to {work}; {served} of them got an order"
        );
        Ok(())
    }

    /// An order is answered at once, although no carrier has a quote for it.
    async fn orders_are_refused(&self, when: &str) -> Outcome {
        let placing = self.stage.orders.place(fresh("in vain", 1));
        let answer = within(SOON, &format!("an answer to an order {when}"), placing)
            .await
            .map_err(|failure| failure.because(CARRIER_FIRST))?;
        ensure!(
            answer.as_ref().is_err_and(unavailable),
            "A database that does not answer is `Unavailable`.",
            "{when}, an order got {answer:?}"
        );
        Ok(())
    }

    /// It is in use again.
    async fn is_back(&self, when: &str) -> Outcome {
        Gets::send(&self.stage.orders, 20)
            .all_right(
                SOON,
                when,
                "A request that gets its answer shows that the database is back.",
            )
            .await?;
        let state = self.stage.orders.stats().breaker_state;
        ensure!(
            state == BreakerState::Closed,
            "Who is on call steers by these figures: they have to say what is.",
            "{when}, the replica reports its breaker as {state:?}"
        );
        Ok(())
    }

    fn wait_until_it_may_try(&self) {
        self.stage.clock.advance(self.open_for);
    }
}

pub async fn left_alone(cx: &Check) -> Outcome {
    // Some pools go on trying to connect, as long as the request has time.
    let down = Down::set(cx, |cfg| cfg.query_deadline = Duration::from_secs(3)).await?;
    cx.stage("the database refuses connections");
    // One short of the limit, and an answer in between: nothing happens.
    down.fail(down.failures - 1).await?;
    down.is_back("with fewer failures than the limit, and none any more")
        .await?;
    let refusing = down.stage.tap.refuse();
    down.stage.tap.cut_all();
    for _ in 0..down.failures {
        down.one_is_unavailable("with all connections refused").await?;
    }
    down.is_left_alone("after as many failures as are allowed")
        .await?;
    down.orders_are_refused("after as many failures as are allowed")
        .await?;
    drop(refusing);
    down.is_left_alone("with the database back, and the time not over")
        .await?;
    down.wait_until_it_may_try();
    is_shop_order(
        1,
        &within(
            SOON,
            "the answer to the first request",
            down.stage.orders.get(OrderId(1)),
        )
        .await?,
        "with the time over",
    )?;
    down.is_back("after an answer").await?;

    cx.stage("the database falls silent");
    let down = Down::set(cx, |cfg| cfg.query_deadline = Duration::from_secs(1)).await?;
    let silent = down.stage.tap.black_hole();
    // As many as may be in the database, and others who wait for their turn.
    let trying = down.stage.cfg.max_db;
    let gets = Gets::send(&down.stage.orders, trying + HERD);
    gets.until_answered(
        trying,
        SOON,
        "A connection on which nothing comes any more breaks by itself after a quarter of an hour: the caller has to give \
         up first.",
    )
    .await?;
    let noticed = down.stage.orders.stats().breaker_state != BreakerState::Closed;
    gets.until_answered(trying + HERD, SOON, if noticed { STILL_SENT } else { TRIED })
        .await?;
    let served = gets.right_or(
        unavailable,
        "with the database silent",
        "A database that does not answer is `Unavailable`.",
    )?;
    ensure!(
        served == 0,
        "The database was silent.",
        "{served} requests were answered by a silent database"
    );
    down.is_left_alone("after as many requests have had no answer")
        .await?;
    drop(silent);
    an_order_comes_back(cx).await
}

/// An order was at the carrier's when the breaker opened.
async fn an_order_comes_back(cx: &Check) -> Outcome {
    const NOT_ASKED_AGAIN: &str = "An order asks at the door whether the database is well, and then waits for the carrier: \
                                   when its turn comes it is to be asked again.";
    cx.stage("an order comes back from the carrier, and the breaker has opened meanwhile");
    let down = Down::set(cx, |cfg| cfg.query_deadline = SOON).await?;
    let orders = down.stage.orders.clone();
    let placing = tokio::spawn(async move { orders.place(fresh("too late", 1)).await });
    down.carrier.until_asked(1, SOON).await?;
    down.fail(down.failures).await?;
    down.stage.settle().await;
    let before = down.stage.work();
    down.carrier.let_go();
    let answer = within(SOON, "an answer to the order", placing)
        .await?
        .map_err(|error| Failure::new(format!("placing an order panicked: {error}")))?;
    ensure!(
        answer.as_ref().is_err_and(unavailable),
        NOT_ASKED_AGAIN,
        "an order that came back from the carrier while the breaker was open got {answer:?}"
    );
    let work = down.stage.work().since(before);
    ensure!(
        work.is_nothing(),
        NOT_ASKED_AGAIN,
        "an order that came back from the carrier while the breaker was open came to {work}"
    );
    Ok(())
}

pub async fn one_finds_out(cx: &Check) -> Outcome {
    let down = Down::set(cx, |cfg| cfg.query_deadline = SOON).await?;
    down.fail(down.failures).await?;
    let almost = Duration::from_millis(1);
    down.stage.clock.advance(down.open_for - almost);
    down.is_left_alone("just before the time is over").await?;
    down.stage.clock.advance(almost);

    cx.stage("the time is over, and a hundred come; the first fails");
    let (gate, herd) = down.herd().await?;
    let refusing = down.stage.tap.refuse();
    down.stage.tap.cut_all();
    herd.until_answered(HERD, SOON * 2, "A request whose connection breaks is answered.")
        .await?;
    herd.right_or(unavailable, "with the connection broken", TRIED)?;
    drop(gate);
    drop(refusing);
    down.is_left_alone("after the one that tried has failed").await?;

    cx.stage("the time is over again, and a hundred come; the first succeeds");
    down.wait_until_it_may_try();
    let (gate, herd) = down.herd().await?;
    gate.open();
    drop(gate);
    herd.until_answered(HERD, SOON, "A request that may try is answered.")
        .await?;
    let served = herd.right_or(unavailable, "with the database back", TRIED)?;
    ensure!(
        served == 1,
        "The request that finds out is a request like any other, and gets its answer.",
        "of {HERD} requests, one of which was let through, {served} got an order"
    );
    down.is_back("after an answer").await
}

impl Down {
    /// A hundred requests at once with the time over: one is held at the gate, the others have been refused.
    async fn herd(&self) -> Result<(Gate, Gets), Failure> {
        self.stage.settle().await;
        let gate = self
            .stage
            .tap
            .hold_requests(|request| !matches!(request.kind, Kind::Ping | Kind::Terminate));
        let herd = Gets::send(&self.stage.orders, HERD);
        gate.until_waiting(1, SOON)
            .await
            .map_err(|failure| failure.because(NOBODY_TRIES))?;
        herd.until_answered(HERD - 1, SOON, RUN_OVER).await?;
        let served = herd.right_or(unavailable, "while another request finds out", TRIED)?;
        ensure!(
            gate.waiting() <= 1,
            RUN_OVER,
            "{} connections are at work while one request of {HERD} was to find out",
            gate.waiting()
        );
        ensure!(
            served == 0 && herd.answered() == HERD - 1,
            "One request finds out, and the others are refused until it has.",
            "{} of {HERD} requests were answered while one was to find out, {served} of them with an order",
            herd.answered()
        );
        Ok((gate, herd))
    }
}

impl Down {
    /// A request that is held at the gate. As long as a service is busy with what the one before has left, it may refuse;
    /// the next follows when another `open_for` is over.
    async fn one_tries(&self, gate: &Gate) -> Gets {
        let mut one = Gets::send(&self.stage.orders, 1);
        while gate.until_waiting(1, Duration::from_millis(50)).await.is_err() {
            if one.answered() > 0 {
                self.wait_until_it_may_try();
                one = Gets::send(&self.stage.orders, 1);
            }
        }
        one
    }
}

pub async fn abandoned(cx: &Check) -> Outcome {
    let down = Down::set(cx, |cfg| cfg.query_deadline = Duration::from_secs(3)).await?;
    down.fail(down.failures).await?;
    for round in ["first", "second"] {
        cx.stage(format!("the {round} caller that finds out goes away"));
        down.stage.settle().await;
        down.wait_until_it_may_try();
        let gate = down
            .stage
            .tap
            .hold_requests(|request| !matches!(request.kind, Kind::Ping | Kind::Terminate));
        let because = if round == "first" { NOBODY_TRIES } else { WEDGED };
        let one = within(SOON, "a request that may try", down.one_tries(&gate))
            .await
            .map_err(|failure| failure.because(because))?;
        one.abandon().await;
        drop(gate);
    }
    cx.stage("others follow");
    let orders: &Arc<Orders> = &down.stage.orders;
    let follows = async || {
        down.wait_until_it_may_try();
        orders.get(OrderId(1)).await.ok()
    };
    let order = within(SOON * 2, "an answer to anybody", async {
        loop {
            if let Some(order) = follows().await {
                return order;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .map_err(|failure| failure.because(WEDGED))?;
    is_shop_order(1, &Ok(order), "after others had gone away")?;
    down.is_back("after an answer").await
}

pub async fn answers(cx: &Check) -> Outcome {
    let failures = cx.draw("failures", &[2, 3]);
    let pg = database(cx).await?;
    let breaker = |cfg: &mut DbConfig| cfg.breaker.failures = failures;
    let stage = Stage::on(&pg, 2, 1, breaker).await?;
    stage.warm().await?;
    let times = failures as usize * 3;

    cx.stage("orders that are there already");
    let taken = NewOrder {
        reference: "shop-30".to_owned(),
        ..fresh("taken", 1)
    };
    for _ in 0..times {
        let answer = stage.orders.place(taken.clone()).await;
        let conflict = matches!(answer, Err(OrderError::Conflict { .. }));
        says(
            &stage,
            conflict,
            &format!("{answer:?}"),
            "an order with a reference that is taken",
        )?;
    }
    still_there(&stage, "conflicts").await?;

    cx.stage("orders that are not there");
    for _ in 0..times {
        let answer = stage.orders.get(OrderId(1_000_000)).await;
        let missing = matches!(answer, Err(OrderError::NotFound { .. }));
        says(
            &stage,
            missing,
            &format!("{answer:?}"),
            "a look at an order that is not there",
        )?;
    }
    still_there(&stage, "orders that are not there").await?;

    cx.stage("requests that can never succeed");
    for _ in 0..times {
        let none = Search {
            by: SearchBy::Sku,
            value: String::new(),
            limit: 1,
        };
        let answer = stage.orders.search(none).await;
        let invalid = matches!(answer, Err(OrderError::Invalid { .. }));
        says(&stage, invalid, &format!("{answer:?}"), "a search for nothing")?;
    }
    still_there(&stage, "invalid requests").await?;

    cx.stage("more than there is room for");
    let gate = stage.tap.hold_requests(|request| request.runs_data());
    let inside = super::overload::fill(&stage).await?;
    gate.until_waiting(2, SOON).await?;
    let crowd = Gets::send(&stage.orders, times);
    crowd
        .until_answered(times, SOON, "Who finds no place is refused.")
        .await?;
    crowd.right_or(
        super::overload::overloaded,
        "with every place taken",
        "A request that finds no place is told so.",
    )?;
    gate.open();
    drop(gate);
    inside
        .all_right(SOON, "once the database went on", "Who has a place is served.")
        .await?;
    still_there(&stage, "refused requests").await?;

    cx.stage("a carrier that does not answer");
    let tap = stage.pg.another_tap().await?;
    let mut cfg = stage.cfg.clone();
    cfg.url = tap.url();
    let orders = Orders::new(cfg, stage.clock.clone())
        .await
        .with_carrier(Arc::new(NoCarrier));
    let stage = Stage {
        orders: Arc::new(orders),
        tap,
        ..stage
    };
    for number in 0..times {
        let answer = stage.orders.place(fresh("undeliverable", number as u64)).await;
        let failed = matches!(answer, Err(OrderError::Unavailable { .. }));
        ensure!(
            failed,
            "An order without its shipping cannot be placed now.",
            "without an answer of the carrier, an order got {answer:?}"
        );
    }
    still_there(&stage, "failures of the carrier").await
}

fn says(stage: &Stage, right: bool, answer: &str, what: &str) -> Outcome {
    ensure!(
        right,
        "The database has answered, and well: what it said is the answer, and no sign that it is down.",
        "{what} got {answer}; the breaker is {:?}",
        stage.orders.stats().breaker_state
    );
    Ok(())
}

/// The breaker is closed, and the next request is served.
async fn still_there(stage: &Stage, after: &str) -> Outcome {
    let state = stage.orders.stats().breaker_state;
    ensure!(
        state == BreakerState::Closed,
        "Only what the database does not answer says that it is down: a violated constraint, a missing row and a refused \
         request are answers.",
        "after many {after}, the breaker is {state:?}"
    );
    let answer = within(SOON, "an answer", stage.orders.get(OrderId(1))).await?;
    is_shop_order(1, &answer, &format!("after many {after}"))
}

pub async fn late(cx: &Check) -> Outcome {
    let down = Down::set(cx, |_| ()).await?;
    cx.stage("a request is under way, and others fail");
    let first = AtomicBool::new(true);
    let gate = down
        .stage
        .tap
        .hold_replies(move |request| request.runs_data() && first.swap(false, Ordering::Relaxed));
    let early = Gets::send(&down.stage.orders, 1);
    gate.until_waiting(1, SOON).await?;
    down.fail(down.failures).await?;
    down.is_left_alone("after as many failures as are allowed")
        .await?;

    cx.stage("the early one gets its answer");
    gate.open();
    drop(gate);
    early
        .all_right(SOON, "late", "A request that was under way gets its answer.")
        .await?;
    down.is_left_alone("after the answer to a request from before")
        .await?;
    down.wait_until_it_may_try();
    let back = async || down.stage.orders.get(OrderId(1)).await.ok();
    let order = eventually(SOON, "an answer once the time was over", back).await?;
    is_shop_order(1, &Ok(order), "with the time over")?;
    down.is_back("after an answer").await
}
