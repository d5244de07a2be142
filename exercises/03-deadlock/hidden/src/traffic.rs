//! What customers do: they move small sums to each other, in all directions at once.

use std::sync::Arc;

use harness::{Check, Failure, Pulse};

use crate::subject::{Bank, BankError, TxId};

/// One customer, who makes one transfer after the other among the first `accounts` accounts.
pub struct Customer {
    rng: fastrand::Rng,
    accounts: u32,
}

impl Customer {
    pub fn new(cx: &Check, number: usize, accounts: u32) -> Customer {
        Customer {
            rng: cx.rng(&format!("customer {number}")),
            accounts,
        }
    }

    /// Two different accounts and a sum.
    pub fn draw(&mut self) -> (u32, u32, i64) {
        let from = self.rng.u32(1..=self.accounts);
        let to = (from + self.rng.u32(0..self.accounts - 1)) % self.accounts + 1;
        (from, to, self.rng.i64(1..10))
    }

    pub async fn makes(mut self, transfers: usize, bank: Arc<Bank>, pulse: Pulse) -> Result<usize, Failure> {
        for _ in 0..transfers {
            let (from, to, cents) = self.draw();
            succeeded(bank.transfer(from, to, cents).await)?;
            pulse.beat();
        }
        Ok(transfers)
    }
}

/// A transfer that nothing stands against.
pub fn succeeded(answer: Result<TxId, BankError>) -> Result<TxId, Failure> {
    answer.map_err(|err| {
        let text = err.to_string();
        Failure::new(format!("a transfer that nothing stood against failed: {text}")).because(why(&text))
    })
}

/// What an error says about the fix that gave it.
pub fn why(text: &str) -> &'static str {
    let text = text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["deadlock"]) {
        "The database broke a deadlock by failing one of the two: rows are still locked in the direction of the transfer."
    } else if says(&["serializ"]) {
        "Serialization failures are the service's to try again, not its callers'."
    } else if says(&["pool timed out", "open connection"]) {
        "A call that holds a connection waits for another: as many of them as there are connections wait for ever."
    } else if says(&[
        "timed out",
        "timeout",
        "elapsed",
        "busy",
        "lock",
        "again",
        "contention",
    ]) {
        "A call that meets another on its account waits its turn; it does not fail."
    } else {
        "Nothing was wrong with the accounts or with the database."
    }
}
