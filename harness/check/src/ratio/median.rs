//! What a sample of ratios says about its median.

use std::fmt;

/// How often, at most, an interval misses the median on one side.
const MISS: f64 = 0.0025;

/// What is known about the median ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finding {
    /// It is below the limit.
    Below(Spread),
    /// It is above the limit.
    Above(Spread),
    /// The limit lies inside the interval: these pairs can't tell.
    Inconclusive(Spread),
}

/// The ratios that were seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub pairs: usize,
    pub median: f64,
    /// The confidence interval of the median.
    pub low: f64,
    pub high: f64,
    pub limit: f64,
}

/// Compares the median of the ratios with the limit. A sample too small for an interval is inconclusive.
pub fn judge(ratios: &[f64], limit: f64) -> Finding {
    let mut sorted = ratios.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let (low, high) = match rank(n) {
        Some(k) => (sorted[k - 1], sorted[n - k]),
        None => (f64::NEG_INFINITY, f64::INFINITY),
    };
    let spread = Spread {
        pairs: n,
        median: median(&sorted),
        low,
        high,
        limit,
    };
    if high < limit {
        Finding::Below(spread)
    } else if low > limit {
        Finding::Above(spread)
    } else {
        Finding::Inconclusive(spread)
    }
}

fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The largest k for which the k-th smallest of n lies above the median by chance no more often than [`MISS`]:
/// the chance that fewer than k of n tosses of a coin show heads.
fn rank(n: usize) -> Option<usize> {
    let mut exactly = 0.5_f64.powi(i32::try_from(n).ok()?);
    let mut fewer = 0.0;
    for k in 0..=n {
        if fewer + exactly > MISS {
            return (k > 0).then_some(k);
        }
        fewer += exactly;
        exactly *= (n - k) as f64 / (k + 1) as f64;
    }
    None
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread {
            pairs,
            median,
            low,
            high,
            limit,
        } = self;
        write!(
            f,
            "a ratio of {median:.2} ({low:.2} to {high:.2}) after {pairs} pairs, limit {limit:.2}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// From the binomial distribution: P(X <= k - 1) <= 0.0025 < P(X <= k).
    #[rstest]
    #[case(0, None)]
    #[case(8, None)]
    #[case(9, Some(1))]
    #[case(11, Some(1))]
    #[case(21, Some(4))]
    #[case(31, Some(8))]
    #[case(41, Some(12))]
    #[case(51, Some(16))]
    #[case(61, Some(20))]
    fn ranks(#[case] n: usize, #[case] k: Option<usize>) {
        assert_eq!(rank(n), k);
    }

    fn sample(values: &[(f64, usize)]) -> Vec<f64> {
        values
            .iter()
            .flat_map(|&(value, times)| std::iter::repeat_n(value, times))
            .collect()
    }

    #[rstest]
    #[case::good(&[(1.0, 11)], "below")]
    #[case::bad(&[(9.0, 11)], "above")]
    #[case::one_outlier_of_eleven(&[(1.0, 10), (9.0, 1)], "inconclusive")]
    #[case::one_outlier_of_many(&[(1.0, 20), (9.0, 1)], "below")]
    #[case::outliers_the_other_way(&[(0.1, 3), (9.0, 18)], "above")]
    #[case::noisy(&[(1.0, 30), (9.0, 31)], "inconclusive")]
    #[case::on_the_limit(&[(4.0, 61)], "inconclusive")]
    #[case::too_few(&[(1.0, 8)], "inconclusive")]
    #[case::nothing(&[], "inconclusive")]
    fn findings(#[case] values: &[(f64, usize)], #[case] expected: &str) {
        let found = match judge(&sample(values), 4.0) {
            Finding::Below(_) => "below",
            Finding::Above(_) => "above",
            Finding::Inconclusive(_) => "inconclusive",
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_spread_is_told_in_words() {
        let Finding::Above(spread) = judge(&sample(&[(4.5, 6), (5.0, 5)]), 4.0) else {
            panic!("not above")
        };
        assert_eq!(
            spread.to_string(),
            "a ratio of 4.50 (4.50 to 5.00) after 11 pairs, limit 4.00"
        );
    }
}
