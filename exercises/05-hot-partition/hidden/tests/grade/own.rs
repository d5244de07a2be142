//! What a writer may rely on: it sees what it wrote, and what was acknowledged is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::{Check, Failure, Machine, OrObserved, Outcome, ensure, eventually, within};
use hot_partition_hidden::reader;
use hot_partition_hidden::stage::{LONG, SOON, Stage, done};
use hot_partition_hidden::subject::{Event, EventLog, Patch};
use hot_partition_hidden::traffic::SMALL;

const LIMIT: usize = 50;

const OWN: &str = "Who writes through an instance and then reads through it has to see the write: what is kept for readers \
                   must not outlive it.";

const LOADING: &str = "A page that was being read when the write came is older than the write, and was kept as if it were \
                       newer.";

const ARRIVING: &str = "A page that was read before the write arrived was kept beyond it: what is kept has to be dropped once the \
                        write is done, and not only before.";

const FOREIGN: &str =
    "What another instance wrote has to be seen once what is kept is older than `cache_ttl`.";

const EARLY: &str =
    "An append that is acknowledged before the store has the event loses it with the process.";

/// How old what a reader sees may be, where a check waits for it.
const TTL: Duration = Duration::from_millis(300);

/// What a call that ought to wait is given to show that it does not.
const MOMENT: Duration = Duration::from_millis(250);

pub async fn seen(cx: &Check) -> Outcome {
    let stage = Stage::set(cx).await?;
    for customer in [stage.big, SMALL[0]] {
        let log = stage.instance();
        let mut expected = stage.all(&[]);
        cx.stage(format!("writing for {customer} and reading at once"));
        shown_first(&log, customer, &expected)
            .await
            .map_err(|failure| failure.because(OWN))?;
        for _ in 0..3 {
            let event = stage.event();
            done("an append", log.append(customer, event.clone())).await?;
            expected.insert(0, event);
            shown_first(&log, customer, &expected)
                .await
                .map_err(|failure| failure.because(OWN))?;
            let body = "corrected".to_owned();
            let patch = Patch { body: body.clone() };
            done("a correction", log.amend(customer, expected[1].id, patch)).await?;
            expected[1].body = body;
            shown_first(&log, customer, &expected)
                .await
                .map_err(|failure| failure.because(OWN))?;
        }
        cx.stage(format!("writing for {customer} while a page is being read"));
        for joined in [false, true] {
            while_a_page_is_read(&stage, customer, &mut expected, joined).await?;
        }
        cx.stage(format!("reading for {customer} while a write is on its way"));
        before_a_write_arrives(&stage, customer, &mut expected).await?;
        cx.stage(format!("writing for {customer} through another instance"));
        let (reader, writer) = (stage.instance_with(stage.cfg(TTL)), stage.instance());
        shown_first(&reader, customer, &expected).await?;
        let event = stage.event();
        done("an append", writer.append(customer, event.clone())).await?;
        expected.insert(0, event);
        let there = eventually(SOON, "another instance's event on a page", async || {
            shown_first(&reader, customer, &expected).await.ok()
        });
        there.await.map_err(|failure| failure.because(FOREIGN))?;
    }
    Ok(())
}

async fn shown_first(log: &EventLog, customer: &str, expected: &[Event]) -> Outcome {
    for limit in [LIMIT, 7] {
        let page = done("a page", log.recent(customer, limit, None)).await?;
        reader::shows(&page.events, &expected[..limit], OWN)?;
    }
    Ok(())
}

/// The write is on its way, and a page is read before it arrives.
async fn before_a_write_arrives(stage: &Stage, customer: &'static str, expected: &mut Vec<Event>) -> Outcome {
    let (log, tap) = stage.instance_apart(stage.cfg(LONG))?;
    let gate = tap.hold_requests(|request| request.writes());
    let event = stage.event();
    let (appending, appended) = (log.clone(), event.clone());
    let append = tokio::spawn(async move { appending.append(customer, appended).await });
    gate.until_waiting(1, SOON).await?;
    let early = done(
        "a page while an append is on its way",
        log.recent(customer, LIMIT, None),
    )
    .await?;
    reader::in_order(&early.events)?;
    gate.open();
    let answer = within(SOON, "the answer to an append", append).await?;
    answer
        .or_observed("an append panicked")?
        .or_observed("an append failed")?;
    expected.insert(0, event);
    let now = done("a page after an append", log.recent(customer, LIMIT, None)).await?;
    reader::shows(&now.events, &expected[..LIMIT], ARRIVING)
}

/// The server has answered what a page asks for, and the instance does not know yet; then comes a write, and perhaps
/// another reader, before the first one has its page.
async fn while_a_page_is_read(
    stage: &Stage,
    customer: &'static str,
    expected: &mut Vec<Event>,
    joined: bool,
) -> Outcome {
    let (log, tap) = stage.instance_apart(stage.cfg(LONG))?;
    let holding = Arc::new(AtomicBool::new(true));
    let held = holding.clone();
    let gate = tap.hold_replies(move |request| request.reads() && held.load(Ordering::SeqCst));
    let early = page(&log, customer);
    gate.until_waiting(1, SOON).await?;
    // As many of them as are asked at once.
    let mut waiting = 0;
    while gate.waiting() > waiting {
        waiting = gate.waiting();
        tokio::time::sleep(MOMENT / 4).await;
    }
    holding.store(false, Ordering::SeqCst);
    let event = stage.event();
    done(
        "an append while a page is being read",
        log.append(customer, event.clone()),
    )
    .await?;
    expected.insert(0, event);
    // It begins after the write; whether it waits for the other or not is its own affair.
    let late = joined.then(|| page(&log, customer));
    tokio::time::sleep(MOMENT / 4).await;
    gate.open();
    within(SOON, "the page that was asked for first", early)
        .await?
        .or_observed("a reader panicked")??;
    if let Some(late) = late {
        let late = within(SOON, "the page that was asked for after the write", late)
            .await?
            .or_observed("a reader panicked")??;
        reader::shows(&late, &expected[..LIMIT], LOADING)?;
    }
    let now = within(SOON, "a page after both", page(&log, customer))
        .await?
        .or_observed("a reader panicked")??;
    reader::shows(&now, &expected[..LIMIT], LOADING)
}

fn page(log: &Arc<EventLog>, customer: &'static str) -> tokio::task::JoinHandle<Result<Vec<Event>, Failure>> {
    let log = log.clone();
    tokio::spawn(async move {
        let page = log.recent(customer, LIMIT, None).await;
        Ok(page.or_observed("a page failed")?.events)
    })
}

pub async fn durable(cx: &Check) -> Outcome {
    let stage = Stage::set(cx).await?;
    for customer in [stage.big, SMALL[1]] {
        cx.stage(format!("holding what is written for {customer}"));
        acknowledged_when_written(&stage, customer).await?;
        cx.stage(format!("stopping an instance that has written for {customer}"));
        written_when_stopped(&stage, customer).await?;
    }
    Ok(())
}

/// Nothing that writes reaches the server, and nothing may be acknowledged.
async fn acknowledged_when_written(stage: &Stage, customer: &'static str) -> Outcome {
    let (log, tap) = stage.instance_apart(stage.cfg(LONG))?;
    let gate = tap.hold_requests(|request| request.writes());
    let event = stage.event();
    let (appending, appended) = (log.clone(), event.clone());
    let mut append = tokio::spawn(async move { appending.append(customer, appended).await });
    let early = tokio::select! {
        answer = &mut append => Some(answer),
        arrived = gate.until_waiting(1, SOON) => {
            arrived?;
            tokio::time::timeout(MOMENT, &mut append).await.ok()
        }
    };
    if let Some(answer) = early {
        let answer = answer.or_observed("an append panicked")?;
        ensure!(
            answer.is_err(),
            EARLY,
            "an append was acknowledged while nothing that it wrote had reached the store"
        );
        return Err(Failure::new(format!(
            "an append whose write takes its time failed: {answer:?}"
        )));
    }
    gate.open();
    let answer = within(SOON, "the answer to an append", append).await?;
    answer
        .or_observed("an append panicked")?
        .or_observed("an append failed")?;
    is_there(stage, customer, &[event]).await
}

async fn written_when_stopped(stage: &Stage, customer: &'static str) -> Outcome {
    let machine = Machine::start()?;
    let log = machine.run({
        let (url, cfg) = (stage.db.url(), stage.cfg(LONG));
        let make = move || Arc::new(EventLog::new(Stage::store(&url), cfg));
        async move { make() }
    });
    let log = log.await.or_observed("an instance did not start")?;
    let events = stage.events(40);
    let mut calls = Vec::new();
    for event in events.clone() {
        let log = log.clone();
        calls.push(machine.run(async move { log.append(customer, event).await }));
    }
    for call in calls {
        let answer = within(SOON, "the answer to an append", call).await?;
        answer
            .or_observed("an append panicked")?
            .or_observed("an append failed")?;
    }
    machine.stop().await;
    drop(log);
    is_there(stage, customer, &events).await
}

async fn is_there(stage: &Stage, customer: &str, events: &[Event]) -> Outcome {
    let shown = reader::everything(&stage.instance(), customer, 40, 400).await?;
    reader::holds(&shown, events, EARLY)
}
