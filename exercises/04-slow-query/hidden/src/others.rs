//! What happens to the directory's table from outside this service, in the words of the contract.

use std::collections::BTreeSet;

use harness::{Check, Failure};

use crate::bill;
use crate::stage::Stage;

/// The regions of the seed.
pub const REGIONS: [&str; 5] = ["africa", "apac", "eu", "latam", "us"];

/// The statement by which the sign-up service adds an active user, right now; it answers with the id.
pub fn sign_up(region: &str, email: &str) -> String {
    format!(
        "INSERT INTO users (email, region, status, verified, bio, created_at) \
         VALUES ({}, {}, 'active', false, 'Signed up a moment ago.', now()) RETURNING id",
        quoted(email),
        quoted(region)
    )
}

/// The statement by which the moderators' tool gives a user another status.
pub fn moderate(id: i64, status: &str) -> String {
    format!("UPDATE users SET status = '{status}' WHERE id = {id}")
}

/// A string literal: nothing but a quote means anything in it, while `standard_conforming_strings` is on.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Addresses to look up: every other one is nobody's.
pub async fn addresses(cx: &Check, stage: &mut Stage) -> Result<Vec<String>, Failure> {
    let mut addresses = Vec::new();
    for (n, id) in ids(cx, stage, bill::EXECUTIONS + 1)
        .await?
        .into_iter()
        .enumerate()
    {
        let email: String = stage
            .ask_one(&format!("SELECT upper(email) FROM users WHERE id = {id}"))
            .await?;
        addresses.push(if n % 2 == 0 { email } else { format!("no.{email}") });
    }
    Ok(addresses)
}

/// Different users of the seed.
pub async fn ids(cx: &Check, stage: &mut Stage, n: usize) -> Result<Vec<i64>, Failure> {
    let users: i64 = stage.ask_one("SELECT max(id) FROM users").await?;
    let mut rng = cx.rng("ids");
    let mut ids = BTreeSet::new();
    while ids.len() < n {
        ids.insert(rng.i64(1..=users));
    }
    Ok(ids.into_iter().collect())
}
