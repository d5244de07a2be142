//! Whoever stays is not to suffer from those who leave.

use std::time::{Duration, Instant};

use cancelled_request_hidden::front::Front;
use cancelled_request_hidden::stage::{END, FOREVER_S, SOON, Stage, database};
use cancelled_request_hidden::traffic::Wanted;
use cancelled_request_hidden::visit::{LEAVES, Leave};
use harness::postgres::Gate;
use harness::{Check, Failure, Outcome, ensure};

const POOL: u32 = 3;
const DEPARTURES: usize = 30;
const QUICK_MIN: usize = 120;

const HIT: &str = "A cancellation names a server process, not a statement: it hits whatever that process does when it arrives. As \
                   long as one may be on its way, the connection must not be anybody else's.";

const HELD: &str = "A connection whose statement still runs is no connection, and one that was closed under its user is none \
                    either.";
/// For the next one to get to the warehouse, or to see the start page.
const NEXT: Duration = Duration::from_secs(6);

/// Between two looks at a state that tells nobody when it changes.
const AGAIN: Duration = Duration::from_millis(10);

pub async fn not_hit(cx: &Check) -> Outcome {
    let (late, many, namesake) = tokio::join!(late_cancellation(cx), many(cx), namesake(cx));
    late.and(many).and(namesake)
}

/// Who leaves has a name with which the name of somebody who stays begins.
async fn namesake(cx: &Check) -> Outcome {
    let stage = Stage::set(cx, POOL).await?;
    stage.quick(SOON).await?;
    let staying = Wanted::slow("q3-emea-17", 3.0);
    let stays = stage.order(&staying).await?;
    stage.until_at_the_warehouse(&staying, SOON).await?;
    let leaving = Wanted::slow("q3-emea-1", FOREVER_S);
    let visit = stage.order(&leaving).await?;
    stage.until_at_the_warehouse(&leaving, SOON).await?;
    visit.leave(Leave::Fin);
    let answer = stays.answer(2 * SOON, "the answer to whoever stayed").await?;
    ensure!(
        answer.status == 200,
        "A statement that is found by the comment in it is found by the whole comment: names of reports begin with each other.",
        "{} stayed, {} left, and the one that stayed was answered {} {}",
        staying.id,
        leaving.id,
        answer.status,
        answer.body
    );
    Ok(())
}

/// The statement of a client that has left ends by itself, and what was to cancel it is held up. If somebody else has
/// the connection by then, it is somebody else's statement that it hits. There are two connections, and two who stay.
async fn late_cancellation(cx: &Check) -> Outcome {
    const HELD_MAX: Duration = Duration::from_secs(4);
    const ANSWERED: Duration = Duration::from_secs(20);
    let pg = database(cx).await?;
    let front = Front::start(cx.harness_handle(), pg.tap())?;
    let url = front.url().to_owned();
    let stage = Stage::at(cx, pg, &url, 2).await?;
    stage.quick(SOON).await?;
    // Whoever looks for a statement by its comment has to read all of it.
    let leaving = Wanted::slow("q3-emea-1", 2.0);
    let staying = [
        Wanted::slow("q3-emea-17", 5.0),
        Wanted::slow("old-q3-emea-1", 2.0),
    ];
    let visit = stage.order(&leaving).await?;
    stage.until_at_the_warehouse(&leaving, SOON).await?;
    let mut stays = vec![stage.order(&staying[0]).await?];
    let asked = async {
        while !stage.has_asked(&staying[0]) {
            tokio::time::sleep(AGAIN).await;
        }
    };
    // How many reports a service makes at one time is its own affair.
    let beside = tokio::time::timeout(Duration::from_millis(500), asked)
        .await
        .is_ok();

    let gate = stage.tap.hold_requests(|request| {
        request.mentions("pg_cancel_backend") || request.mentions("pg_terminate_backend")
    });
    front.hold();
    visit.leave(Leave::Fin);
    stage.door.until_left(&leaving.id, END).await;
    stays.push(stage.order(&staying[1]).await?);
    let next = if beside { &staying[1..] } else { &staying[..] };
    let taken_over = tokio::time::timeout(HELD_MAX, taken_over(&stage, next, &gate, &front)).await;
    gate.open();
    front.open();
    for visit in stays {
        let answer = visit.answer(ANSWERED, "the answer to whoever stayed").await?;
        ensure!(
            answer.status == 200,
            match taken_over {
                Ok(()) => HIT,
                Err(_) =>
                    "Whoever waits for a connection has to get one when the statement of a client that left is over.",
            },
            "whoever stayed was answered {} {}, because somebody else had left",
            answer.status,
            answer.body
        );
    }
    Ok(())
}

/// Returns when the server works for one of these while a cancellation is held. That does not happen as long as the
/// connection is kept back.
async fn taken_over(stage: &Stage, next: &[Wanted], gate: &Gate, front: &Front) {
    let begun = |busy: &[String]| {
        let running = |wanted: &Wanted| busy.iter().any(|line| line.contains(&wanted.marker()));
        next.iter()
            .any(|wanted| running(wanted) && stage.has_asked(wanted))
    };
    loop {
        let held = gate.waiting() + front.waiting() > 0;
        if held && stage.warehouse.busy().await.is_ok_and(|busy| begun(&busy)) {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// One after the other leaves, and beside them others look at the start page, on the same connections.
async fn many(cx: &Check) -> Outcome {
    let stage = Stage::set(cx, POOL).await?;
    stage.quick(SOON).await?;
    let leaving = async {
        for n in 0..DEPARTURES {
            let wanted = Wanted::slow(format!("leaving-{n}"), FOREVER_S);
            let visit = stage.order(&wanted).await?;
            let asked = stage.until_at_the_warehouse(&wanted, NEXT).await;
            asked.map_err(|failure| {
                failure.because(
                    "Those who left still hold the connections, and whoever comes next waits for one.",
                )
            })?;
            visit.leave(LEAVES[n % LEAVES.len()]);
        }
        Ok::<_, Failure>(())
    };
    let mut leaving = std::pin::pin!(leaving);
    let (mut left, mut asked, begun) = (false, 0, Instant::now());
    while !left || asked < QUICK_MIN {
        let quick = async { tokio::join!(quick(&stage), quick(&stage), quick(&stage), quick(&stage)) };
        let mut quick = std::pin::pin!(quick);
        let answers = loop {
            tokio::select! {
                answers = &mut quick => break answers,
                done = &mut leaving, if !left => {
                    done?;
                    left = true;
                }
            }
        };
        for answer in [answers.0, answers.1, answers.2, answers.3] {
            answer?;
            asked += 1;
        }
        cx.beat();
    }
    cx.note(format!(
        "{asked} looks at the start page beside {DEPARTURES} departures in {:?}",
        begun.elapsed()
    ));
    Ok(())
}

async fn quick(stage: &Stage) -> Outcome {
    let answer = stage.quick(NEXT).await.map_err(|failure| failure.because(HELD))?;
    if answer.status == 200 {
        return Ok(());
    }
    let because = match answer.body.contains("cancel")
        || stage.tap.counts().sqlstate("57014") > 0 && answer.status == 500
    {
        true => HIT,
        false => HELD,
    };
    Err(Failure::new(format!(
        "the start page was answered {} {} while others left",
        answer.status, answer.body
    ))
    .because(because))
}
