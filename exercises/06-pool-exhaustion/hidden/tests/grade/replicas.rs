//! Three replicas as processes, on one database with few connections.

use harness::{Check, Failure, Outcome, ensure, within};
use pool_exhaustion_hidden::fleet::{Member, Question, Share, Tally};
use pool_exhaustion_hidden::stage::{SOON, database};
use std::time::Duration;

const TEST: &str = "every_replica_answers_with_what_was_asked_for";
const REQUESTS: usize = 400;

/// All that a slow machine may need for the whole traffic.
const ALL_OF_IT: Duration = Duration::from_secs(60);

pub async fn right(cx: &Check) -> Outcome {
    let max_db = cx.draw("max_db", &[3, 4]);
    let queue = cx.draw("queue", &[12, 16]);
    let pg = database(cx).await?;
    let mut rng = cx.rng("traffic");
    let mut members = Vec::new();
    let mut shares = Vec::new();
    for number in 0..3 {
        members.push(Member::boot(cx, TEST, &pg, max_db, queue).await?);
        shares.push(Share {
            seed: rng.u64(..),
            whose: format!("shop-{number}"),
            requests: REQUESTS,
            at_once: max_db + queue,
        });
    }
    let taps: Vec<_> = members.iter().map(|member| member.tap.clone()).collect();

    // All of them at once, and nobody has got an answer before all have come.
    cx.stage("all three replicas have all the work that they can take");
    let gates: Vec<_> = taps
        .iter()
        .map(|tap| tap.hold_requests(|request| request.runs_data()))
        .collect();
    let mut working = Vec::new();
    for (member, share) in members.into_iter().zip(&shares) {
        working.push(tokio::spawn(ask(member, Question::Work(share.clone()))));
    }
    for gate in &gates {
        gate.until_waiting(max_db, SOON).await.map_err(|failure| {
            let open = taps.iter().map(|tap| tap.counts().connections_open);
            failure
                .because(
                    "`max_db` requests of each replica may be in the database at one time: who opens more connections takes \
                     them away from the other replicas.",
                )
                .evidence(format!("connections of the three: {:?}", open.collect::<Vec<_>>()))
        })?;
    }
    drop(gates);
    let mut members = Vec::new();
    for (working, share) in working.into_iter().zip(&shares) {
        let ended = within(ALL_OF_IT, "the end of a replica's work", working).await?;
        let (member, tally) = ended.map_err(|error| Failure::environment(error.to_string()))??;
        judge(&tally, share, "under load")?;
        members.push(member);
    }

    cx.stage("every replica reads what another one has placed");
    let peak = taps.iter().map(|tap| tap.counts().connections_peak).max();
    for (number, member) in members.into_iter().enumerate() {
        let share = &shares[(number + 1) % shares.len()];
        let reading = ask(member, Question::Read(share.clone()));
        let (_, tally) = within(ALL_OF_IT, "the end of a replica's reading", reading).await??;
        judge(&tally, share, "on another replica")?;
    }

    let opened: u64 = taps.iter().map(|tap| tap.counts().connections_total).sum();
    let peak = peak.unwrap_or(0);
    cx.measure(
        "connections_beyond_max_db",
        peak.saturating_sub(max_db as u64) as f64,
    );
    cx.explain(
        "connections_beyond_max_db",
        "A limit that every request, tenant or endpoint has for itself is no limit: what counts is what the replica has \
         open in all, and the database has to have that three times.",
        [format!("{peak} connections of one replica at one time, and max_db is {max_db}")],
    );
    let allowed = (3 * max_db) as u64;
    cx.measure("connections_opened_per_slot", opened as f64 / allowed as f64);
    cx.explain(
        "connections_opened_per_slot",
        "A connection costs the database a process: it is opened once, and kept for the next request.",
        [format!(
            "{opened} connections were opened for {} requests",
            3 * REQUESTS
        )],
    );
    Ok(())
}

async fn ask(mut member: Member, question: Question) -> Result<(Member, Tally), Failure> {
    let tally = member.replica.ask(&question).await?;
    Ok((member, tally))
}

fn judge(tally: &Tally, share: &Share, when: &str) -> Outcome {
    if let Some(wrong) = tally.wrong.first() {
        return Err(
            Failure::new(format!("{when}, {} answers were wrong", tally.wrong.len()))
                .because("An answer has to be the answer to the request that gets it.")
                .evidence(wrong.clone()),
        );
    }
    ensure!(
        tally.failed.is_empty(),
        "A request that finds all connections taken waits for its turn; it is no error, and nothing to open another \
         connection for.",
        "{when}, {} of {} requests of {} failed, the first with {}",
        tally.failed.len(),
        share.requests,
        share.whose,
        tally.failed[0]
    );
    Ok(())
}
