//! How many requests have to wait for others: requests that are made side by side count as one round.

use std::time::Duration;

use harness::dynamodb::DynamoTap;
use harness::{Failure, within};

use crate::stage::SOON;

/// When nothing more arrives for that long, what waits is taken for a round. A machine that is slower than that makes
/// one round look like two, so limits leave room.
const QUIET: Duration = Duration::from_millis(120);

/// Holds every request for items at the tap until no more arrive, lets them go together, and so on until `call` has
/// returned; returns its result and how often that was. Stops counting at `rounds_max`, and lets everything go.
pub async fn counted<T: Send + 'static>(
    tap: &DynamoTap,
    rounds_max: usize,
    call: impl Future<Output = T> + Send + 'static,
) -> Result<(T, usize), Failure> {
    let gate = tap.hold_requests(|request| !request.accesses.is_empty());
    let mut call = tokio::spawn(call);
    let mut rounds = 0;
    loop {
        tokio::select! {
            result = &mut call => return finished(result, rounds),
            arrived = gate.until_waiting(1, SOON) => arrived?,
        }
        let mut waiting = gate.waiting();
        loop {
            tokio::time::sleep(QUIET).await;
            match gate.waiting() {
                more if more > waiting => waiting = more,
                _ => break,
            }
        }
        rounds += 1;
        if rounds >= rounds_max {
            gate.open();
            let result = within(SOON, "the end of a read", &mut call).await?;
            return finished(result, rounds);
        }
        for _ in 0..waiting {
            gate.release_one();
        }
    }
}

fn finished<T>(result: Result<T, tokio::task::JoinError>, rounds: usize) -> Result<(T, usize), Failure> {
    match result {
        Ok(result) => Ok((result, rounds)),
        Err(error) => Err(Failure::new(format!("the call did not return: {error}"))),
    }
}
