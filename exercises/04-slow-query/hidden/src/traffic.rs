//! What happens to the directory's table from outside this service, in the words of the contract.

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
