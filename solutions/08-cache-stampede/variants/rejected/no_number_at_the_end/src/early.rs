//! When a price is renewed before it expires.

use std::time::Duration;

/// Whether this call should renew a price that has `remaining` to live and whose load took `delta`, by XFetch (Vattani,
/// Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede Prevention"): `-δβ·ln(u) ≥ remaining`.
pub fn should_refresh_early(remaining: Duration, delta: Duration, beta: f64, u: f64) -> bool {
    -delta.as_secs_f64() * beta * u.ln() >= remaining.as_secs_f64()
}
