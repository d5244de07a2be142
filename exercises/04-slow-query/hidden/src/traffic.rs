//! What happens to the directory's table from outside this service, in the words of the contract.

use std::collections::BTreeSet;

use harness::{Check, Failure};

use crate::cost;
use crate::stage::Stage;

/// Users of the seed.
const GROWN: i64 = 500_000;

/// The regions of the seed.
pub const REGIONS: [&str; 5] = ["africa", "apac", "eu", "latam", "us"];

/// The statement by which the sign-up service adds an active user, right now; it answers with the id.
///
/// `email` and `region` are the grader's own words and contain no quotes.
pub fn sign_up(region: &str, email: &str) -> String {
    format!(
        "INSERT INTO users (email, region, status, verified, bio, created_at) \
         VALUES ('{email}', '{region}', 'active', false, 'Signed up a moment ago.', now()) RETURNING id"
    )
}

/// The statement by which the moderators' tool gives a user another status.
pub fn moderate(id: i64, status: &str) -> String {
    format!("UPDATE users SET status = '{status}' WHERE id = {id}")
}

/// Addresses to look up: every other one is nobody's.
pub async fn addresses(cx: &Check, stage: &mut Stage) -> Result<Vec<String>, Failure> {
    let mut addresses = Vec::new();
    for (n, id) in ids(cx, cost::EXECUTIONS + 1).into_iter().enumerate() {
        let email: String = stage
            .ask_one(&format!("SELECT upper(email) FROM users WHERE id = {id}"))
            .await?;
        addresses.push(if n % 2 == 0 { email } else { format!("no.{email}") });
    }
    Ok(addresses)
}

/// Different users of the grown table.
pub fn ids(cx: &Check, n: usize) -> Vec<i64> {
    let mut rng = cx.rng("ids");
    let mut ids = BTreeSet::new();
    while ids.len() < n {
        ids.insert(rng.i64(1..=GROWN));
    }
    ids.into_iter().collect()
}
