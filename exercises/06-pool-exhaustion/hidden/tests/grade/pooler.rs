//! Behind PgBouncer, where the server's connection may be another one with every transaction.

use std::time::Duration;

use harness::{Check, Failure, Outcome, within};
use pool_exhaustion_hidden::calls::Gets;
use pool_exhaustion_hidden::fleet::{Tally, Work};
use pool_exhaustion_hidden::pooler::Pooler;
use pool_exhaustion_hidden::stage::{SOON, until};
use pool_exhaustion_hidden::subject::OrderError;
use pool_exhaustion_hidden::traffic::Ask;

use super::deadline::{Blocked, NO_ANSWER, unavailable};

/// Of each of two replicas.
const REQUESTS: usize = 250;

const NAMED: &str = "A driver prepares a statement in one round trip and runs it in another. Behind a pooler in transaction mode \
                     the two may reach different connections of the server, unless they are in one transaction; and what \
                     has a name there outlives both.";
const BORROWED: &str = "A connection of the server's belongs to a client for one transaction: who keeps it longer, or leaves \
                        settings on it, takes it from all the others.";

pub async fn values(cx: &Check) -> Outcome {
    let pooler = Pooler::start(cx).await?;
    let mut rng = cx.rng("traffic");
    let replicas = [
        pooler.replica(10, 30, |_| ()).await,
        pooler.replica(10, 30, |_| ()).await,
    ];
    cx.stage("two replicas ask through PgBouncer");
    let asks = |number: usize| Ask::some(&mut rng, &format!("pooled-{number}"), REQUESTS);
    let asks: Vec<_> = (0..replicas.len()).map(asks).collect();
    let works = replicas.iter().zip(asks);
    let works: Vec<_> = works
        .map(|(orders, asks)| Work::begin(orders, asks, 16))
        .collect();
    // In the midst of it, where that is worth the name.
    pooler
        .tap
        .until("a hundred statements behind PgBouncer", SOON, |counts| {
            counts.executes + counts.simple_queries >= 100
        })
        .await
        .ok();
    pooler.reconnect().await?;
    let mut tally = Tally::default();
    for work in &works {
        // As long as something comes, it is slow, and not stuck.
        while within(SOON * 2, "", work.ended()).await.is_err() {
            let before: usize = works.iter().map(Work::done).sum();
            let goes_on = || works.iter().map(Work::done).sum::<usize>() > before;
            until(
                SOON * 2,
                "the answer to another request through PgBouncer",
                goes_on,
            )
            .await
            .map_err(|failure| failure.because(NAMED))?;
        }
        let one = work.tally();
        tally.right += one.right;
        tally.wrong.extend(one.wrong);
        tally.failed.extend(one.failed);
    }
    if tally.right + tally.wrong.len() + tally.failed.len() < replicas.len() * REQUESTS {
        return Err(Failure::new("a request through PgBouncer panicked"));
    }
    let all = tally.right + tally.wrong.len() + tally.failed.len();
    if let Some(wrong) = tally.wrong.first() {
        return Err(Failure::new(format!(
            "{} of {all} answers were another request's; {} more requests failed",
            tally.wrong.len(),
            tally.failed.len()
        ))
        .because(NAMED)
        .evidence(wrong.clone()));
    }
    if let Some(failed) = tally.failed.first() {
        return Err(
            Failure::new(format!("{} of {all} requests failed", tally.failed.len()))
                .because(NAMED)
                .evidence(format!("the first: {failed}")),
        );
    }
    Ok(())
}

pub async fn shared(cx: &Check) -> Outcome {
    let pooler = Pooler::start(cx).await?;
    let mut replicas = Vec::new();
    for _ in 0..5 {
        let eight = |cfg: &mut pool_exhaustion_hidden::subject::DbConfig| {
            cfg.query_deadline = Duration::from_secs(8);
        };
        replicas.push(pooler.replica(8, 8, eight).await);
    }
    for round in 1..=2 {
        cx.stage(format!("forty connections to PgBouncer, round {round}"));
        let gets: Vec<_> = replicas.iter().map(|orders| Gets::send(orders, 8)).collect();
        for gets in gets {
            gets.until_answered(gets.sent(), SOON * 2, BORROWED).await?;
            let named = gets
                .answers()
                .iter()
                .any(|answer| matches!(answer, Err(OrderError::Db { .. })));
            let because = if named { NAMED } else { BORROWED };
            let when = "with forty clients on four connections of the server";
            gets.right_or(|_| false, when, because)?;
        }
    }
    cx.stage("somebody else uses every connection of the server");
    nothing_is_left_on_the_connections(&pooler).await?;
    let peak = pooler.tap.counts().connections_peak;
    cx.measure("server_connections_behind_the_pooler", peak as f64);
    cx.explain(
        "server_connections_behind_the_pooler",
        "The pooler exists so that the database has few connections; a larger pool there hands the herd on.",
        [format!(
            "{peak} connections from PgBouncer to the server at one time"
        )],
    );
    Ok(())
}

/// Four others begin a transaction each, so that each has another connection, and find the settings as they were.
async fn nothing_is_left_on_the_connections(pooler: &Pooler) -> Outcome {
    // What PgBouncer itself keeps in step with each client.
    const IN_STEP: &str =
        "'application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings'";
    let sql = format!(
        "SELECT name || ' = ' || setting FROM pg_settings WHERE source = 'session' AND name NOT IN ({IN_STEP})"
    );
    let mut others = Vec::new();
    for _ in 0..4 {
        let mut other = pooler.neighbour().await?;
        let begun = within(
            SOON,
            "the beginning of another client's transaction",
            other.execute("BEGIN"),
        )
        .await;
        begun
            .map_err(|failure| failure.because(BORROWED))?
            .map_err(|error| {
                Failure::new(format!("another client of PgBouncer's got {error}")).because(BORROWED)
            })?;
        others.push(other);
    }
    for other in &mut others {
        let rows = other.query(&sql).await.map_err(|error| {
            Failure::new(format!("another client of PgBouncer's got {error}")).because(BORROWED)
        })?;
        if let Some(setting) = rows.first().and_then(|row| row.text(0)) {
            return Err(Failure::new(format!(
                "another client of PgBouncer's finds `{setting}` on its connection"
            ))
            .because(BORROWED));
        }
    }
    Ok(())
}

pub async fn deadline(cx: &Check) -> Outcome {
    let max_db = cx.draw("max_db", &[3, 4]);
    let deadline = cx.draw(
        "query_deadline",
        &[Duration::from_millis(1_000), Duration::from_millis(1_500)],
    );
    let pooler = Pooler::start(cx).await?;
    let orders = pooler
        .replica(max_db, 8, |cfg| cfg.query_deadline = deadline)
        .await;
    let role = pooler.pg.role().to_owned();
    let blocked = Blocked::begin(&pooler.pg).await?;
    for round in 1..=2 {
        cx.stage(format!("the table is locked, round {round}"));
        let gets = Gets::send(&orders, max_db);
        gets.until_answered(max_db, SOON, NO_ANSWER).await?;
        gets.right_or(unavailable, "with the table locked", NO_ANSWER)?;
        blocked.until_nothing_runs(&role, SOON).await?;
    }
    cx.stage("somebody else uses PgBouncer meanwhile");
    let mut other = pooler.neighbour().await?;
    let told = within(
        SOON,
        "the answer to another client of PgBouncer's",
        other.query("SELECT 42"),
    )
    .await;
    told.map_err(|failure| failure.because(BORROWED))?
        .map_err(|error| {
            Failure::new(format!("another client of PgBouncer's got {error}")).because(BORROWED)
        })?;
    blocked.end().await?;
    let again = async || {
        let gets = Gets::send(&orders, max_db);
        gets.until_answered(max_db, SOON, "").await.ok()?;
        gets.right_or(|_| false, "", "").ok()
    };
    harness::eventually(
        SOON,
        "an answer to `max_db` requests at once with the table free again",
        again,
    )
    .await
    .map(drop)
    .map_err(|failure| failure.because(BORROWED))
}
