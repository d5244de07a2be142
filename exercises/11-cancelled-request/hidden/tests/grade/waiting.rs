//! The client leaves while its report waits for somebody else.

use cancelled_request_hidden::stage::{END, SOON, Stage};
use cancelled_request_hidden::traffic::Wanted;
use cancelled_request_hidden::visit::{LEAVES, Leave};
use harness::{Check, Outcome, ensure};

use crate::departures::{UNSEEN, UPLOAD_LEN};

const DETACHED: &str =
    "The job is a task of its own that nobody has told: it goes on as if somebody were waiting.";

/// Every connection is in use. What the client wanted must not be sent once one is free.
pub async fn for_a_connection(cx: &Check) -> Outcome {
    let pool = cx.draw("connections of the pool", &[2_u32, 3]);
    let stage = Stage::set(cx, pool).await?;
    stage.quick(SOON).await?;
    let wanted = Wanted::new("waits-for-a-connection", 5).in_market("slow");
    stage.prices.hold("slow");
    let visit = stage.order(&wanted).await?;
    let asked = stage
        .prices
        .until("slow", "the price request", SOON, |asked| asked.arrived == 1);
    asked.await?;

    let answers = stage
        .tap
        .hold_replies(|request| request.runs("slow_rows") && request.mentions("report:holds"));
    let holders: Vec<_> = (0..pool).map(|n| Wanted::new(format!("holds-{n}"), 2)).collect();
    let mut holding = Vec::new();
    for holder in &holders {
        holding.push(stage.order(holder).await?);
    }
    stage.until_no_more_come(&holders).await?;
    stage.prices.release("slow");
    let answered = stage
        .prices
        .until("slow", "the answer of the price service", SOON, |asked| {
            asked.answered == 1
        });
    answered.await?;
    stage.quiet().await;
    let sent = stage.tap.statements().len();
    visit.leave(Leave::Fin);
    stage.door.until_left(&wanted.id, END).await;
    stage.quiet().await;
    answers.open();
    for visit in holding {
        let answer = visit.answer(SOON, "the answer to whoever stayed").await?;
        ensure!(
            answer.status == 200,
            "Whoever waits for its report gets it.",
            "whoever stayed was answered {} {}",
            answer.status,
            answer.body
        );
    }
    stage.quiet().await;
    let marker = wanted.marker();
    let late = stage.statements_after(sent);
    ensure!(
        !late
            .iter()
            .any(|sql| sql.contains("slow_rows") && sql.contains(&marker)),
        DETACHED,
        "the client left while its report waited for a connection, and then the statement was sent all the same"
    );
    Ok(())
}

pub async fn for_the_price(cx: &Check) -> Outcome {
    let stage = Stage::set(cx, 4).await?;
    let clients = LEAVES.into_iter().flat_map(|how| [(how, 0), (how, UPLOAD_LEN)]);
    for (how, upload) in clients {
        let market = format!("slow-{how:?}-{upload}");
        stage.prices.hold(&market);
        let wanted = Wanted::new(format!("waits-for-the-price-{how:?}-{upload}"), 5);
        let wanted = wanted.in_market(&market).with_upload(upload);
        let visit = stage.order(&wanted).await?;
        let asked = stage
            .prices
            .until(&market, "the price request", SOON, |asked| asked.arrived == 1);
        asked.await?;
        visit.leave(how);
        let gone = stage
            .prices
            .until(&market, "the end of the price request", END, |asked| {
                asked.gone == 1
            });
        gone.await.map_err(|failure| {
            let failure = match upload {
                0 => failure.because(DETACHED),
                _ => failure.because(UNSEEN),
            };
            failure.evidence(format!(
                "the client had left by {how:?}, having sent {upload} bytes or more"
            ))
        })?;
    }
    Ok(())
}
