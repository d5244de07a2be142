//! `X-Deadline-Ms`.

use std::time::Duration;

use cancelled_request_hidden::stage::{END, FOREVER_S, SOON, Stage};
use cancelled_request_hidden::traffic::Wanted;
use cancelled_request_hidden::visit::{Answer, Visit};
use harness::{Check, Failure, Outcome, ensure};

const POOL: u32 = 4;
const STEPS_MAX: u64 = 100;
const WAITING_ENDED: &str = "The deadline ended the waiting and not the work: what was spawned, blocks a thread or runs in the \
                             database has to be told as when the client leaves.";

pub async fn end_the_work(cx: &Check) -> Outcome {
    let deadline_ms = cx.draw("the deadline in milliseconds", &[300, 400, 500]);
    let stage = Stage::set(cx, POOL).await?;
    stage.quick(SOON).await?;
    let statement = Wanted::slow("late-at-the-warehouse", FOREVER_S).by(deadline_ms);
    let price = Wanted::new("late-at-the-price", 5)
        .in_market("slow")
        .by(deadline_ms);
    let calculation = Wanted::new("late-in-the-calculation", 600).by(2 * deadline_ms);
    let upload = Wanted::new("late-with-its-upload", 5).by(deadline_ms);
    stage.prices.hold("slow");
    tokio::try_join!(
        at_the_warehouse(&stage, &statement),
        at_the_price(&stage, &price),
        in_the_calculation(&stage, &calculation),
        in_the_upload(&stage, &upload, Duration::from_millis(deadline_ms)),
    )?;
    for wanted in [&statement, &price, &calculation] {
        let record = stage.warehouse.until_ended(&wanted.id, SOON).await?;
        ensure!(
            record.ends() == ["cancelled"] && record.rows == 0,
            "A report that its deadline ended is cancelled: it has not failed, and nothing of it is stored afterwards.",
            "of {} the records say {:?} and {} rows",
            wanted.id,
            record.events,
            record.rows
        );
    }
    Ok(())
}

async fn at_the_warehouse(stage: &Stage, wanted: &Wanted) -> Outcome {
    late(stage.order(wanted).await?, wanted).await?;
    let idle = stage.warehouse.until_idle(END).await;
    idle.map_err(|failure| failure.because(WAITING_ENDED))
}

async fn at_the_price(stage: &Stage, wanted: &Wanted) -> Outcome {
    late(stage.order(wanted).await?, wanted).await?;
    // On a slow machine the deadline may be over before the price is asked for.
    let gone = stage
        .prices
        .until("slow", "the end of the price request", END, |asked| {
            asked.gone == asked.arrived
        });
    gone.await.map_err(|failure| failure.because(WAITING_ENDED))
}

/// A step is held when the deadline ends. A service that looks between steps answers when the step is over.
async fn in_the_calculation(stage: &Stage, wanted: &Wanted) -> Outcome {
    const HELD: u64 = 10;
    const ANSWER_WHILE_HELD: Duration = Duration::from_secs(2);
    stage.steps.hold(&wanted.id, HELD);
    let mut answering = std::pin::pin!(late(stage.order(wanted).await?, wanted));
    let answered = tokio::time::timeout(ANSWER_WHILE_HELD, &mut answering).await;
    stage.quiet().await;
    let before = stage.steps.of(&wanted.id).steps;
    stage.steps.release(&wanted.id);
    match answered {
        Ok(answer) => answer?,
        Err(_) => answering.await?,
    };
    let over = stage
        .steps
        .until(&wanted.id, "the end of a calculation", END, |of| {
            of.ended || of.steps > before + STEPS_MAX
        });
    let _ = over.await;
    let further = stage.steps.of(&wanted.id).steps - before;
    ensure!(
        further <= STEPS_MAX,
        WAITING_ENDED,
        "the deadline was over at step {before}, and more than {STEPS_MAX} further steps were made"
    );
    Ok(())
}

/// The client has named its deadline, and is slow with the rest. Whether the report is begun is the service's affair.
async fn in_the_upload(stage: &Stage, wanted: &Wanted, deadline: Duration) -> Outcome {
    let request = wanted.request();
    let (head, rest) = request.split_at(request.len() - wanted.body().len() / 2);
    let mut visit = Visit::begin(stage.door.address(), head).await?;
    tokio::time::sleep(2 * deadline).await;
    visit.more(rest).await;
    late(visit, wanted).await.map(drop).map_err(|failure| {
        failure.because(
            "A deadline counts from the arrival of the request: its client does not wait longer because it was slow to send.",
        )
    })
}

async fn late(visit: Visit, wanted: &Wanted) -> Result<Answer, Failure> {
    let what = format!("the answer to {} at its deadline", wanted.id);
    let answer = visit.answer(SOON, &what).await?;
    ensure!(
        answer.status == 504,
        "Whoever names a deadline is to be told when it is over.",
        "{} was answered {} {}",
        wanted.id,
        answer.status,
        answer.body
    );
    Ok(answer)
}
