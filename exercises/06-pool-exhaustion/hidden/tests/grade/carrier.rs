//! A carrier that takes its time.

use std::sync::Arc;

use harness::{Check, Failure, Outcome, ensure, within};
use pool_exhaustion_hidden::calls::Gets;
use pool_exhaustion_hidden::outside::SlowCarrier;
use pool_exhaustion_hidden::stage::{SOON, Stage};
use pool_exhaustion_hidden::traffic::{fresh, placed};

/// More than have a place in the queue and in the database together.
const PLACED: usize = 24;

const HELD: &str = "An order that waits for the carrier holds a connection, or a place in the queue for one, that it does not \
                    use: the carrier's bad day becomes everybody's.";

pub async fn slow(cx: &Check) -> Outcome {
    let cents = cx.draw("quote", &[310, 777]);
    let queue = 6;
    let stage = Stage::set(cx, 2, queue, |_| ()).await?;
    let carrier = Arc::new(SlowCarrier::new(cents));
    let stage = stage.asking(carrier.clone()).await;
    cx.stage("orders wait for the carrier");
    let placing: Vec<_> = (0..PLACED)
        .map(|number| {
            let orders = stage.orders.clone();
            let order = fresh("patient", number as u64);
            tokio::spawn(async move { (order.clone(), orders.place(order).await) })
        })
        .collect();
    carrier
        .until_asked(PLACED, SOON)
        .await
        .map_err(|failure| failure.because(HELD))?;
    stage.settle().await;
    let open = stage.tap.counts().transactions_open;
    ensure!(
        open == 0,
        HELD,
        "{open} transactions are open while {PLACED} orders wait for the carrier"
    );
    let gets = Gets::send(&stage.orders, 2 + queue);
    gets.all_right(SOON, "while orders wait for the carrier", HELD)
        .await?;

    cx.stage("the carrier answers");
    carrier.let_go();
    let mut kept = 0;
    for placing in placing {
        let (order, answer) = within(SOON, "the end of an order", placing)
            .await?
            .map_err(|error| Failure::new(format!("placing an order panicked: {error}")))?;
        // More of them than have a place: some are refused, rightly.
        let Ok(id) = answer else { continue };
        let stored = stage.orders.get(id).await;
        ensure!(
            stored.as_ref() == Ok(&placed(id, &order, cents)),
            "An order's total is what the goods cost, and what the carrier said.",
            "an order of {order:?} with shipping for {cents} is stored as {stored:?}"
        );
        kept += 1;
    }
    ensure!(
        kept >= 2,
        "There is room for more than that.",
        "{kept} of {PLACED} orders were placed once the carrier had answered"
    );
    Ok(())
}
