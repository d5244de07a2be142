//! When a price is renewed before it expires.

use std::time::Duration;

/// Whether this call should renew a price that has `remaining` to live and whose load took `delta`, by XFetch (Vattani,
/// Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede Prevention"): `-δβ·ln(u) ≥ remaining`.
pub fn should_refresh_early(remaining: Duration, delta: Duration, beta: f64, u: f64) -> bool {
    if remaining.is_zero() {
        return true;
    }
    // Otherwise nothing times the infinity of `ln(0)` would be no number.
    if delta.is_zero() || beta == 0.0 {
        return false;
    }
    -(delta.as_secs_f64() * beta * u.ln()) >= remaining.as_secs_f64()
}
