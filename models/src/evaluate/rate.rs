//! How sure one can be of a rate that was counted.

/// A confidence interval for a rate, in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The two-sided confidence interval of Clopper and Pearson (1934) for the probability of an event seen `n_events` times in
/// `n_trials`: each end leaves half of `1 - confidence` to the binomial distribution beyond what was seen.
///
/// - `n_events`: at most `n_trials`; without trials the interval is all of [0, 1].
/// - `confidence`: in (0, 1).
pub fn clopper_pearson(n_events: usize, n_trials: usize, confidence: f64) -> Interval {
    let tail = (1.0 - confidence) / 2.0;
    let high = if n_events >= n_trials {
        1.0
    } else {
        // The probability of so few falls as the rate rises.
        bisect(|rate| at_most(n_events, n_trials, rate) > tail)
    };
    let low = if n_events == 0 || n_trials == 0 {
        0.0
    } else {
        bisect(|rate| 1.0 - at_most(n_events - 1, n_trials, rate) < tail)
    };
    Interval { low, high }
}

/// The greatest rate for which `holds` is true, which is so for all lesser ones.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    // Halved until nothing is between two neighbouring numbers near 1.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The probability of at most `k` events in `n` trials at `rate`, in (0, 1).
fn at_most(k: usize, n: usize, rate: f64) -> f64 {
    let (log_rate, log_rest) = (rate.ln(), (-rate).ln_1p());
    let mut log_choose = 0.0;
    let mut sum = 0.0;
    for i in 0..=k {
        sum += (log_choose + i as f64 * log_rate + (n - i) as f64 * log_rest).exp();
        log_choose += ((n - i) as f64 / (i + 1) as f64).ln();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_is_that_of_the_beta_distribution() {
        // Quantiles of the beta distribution by SciPy: beta.ppf([.025, .975], ...).
        for (n_events, n_trials, low, high) in [
            (0, 100, 0.0, 0.036_216_692_6),
            (1, 1143, 2.215_006_8e-5, 4.864_841_4e-3),
            (7, 20, 0.153_909_2, 0.592_188_5),
            (20, 20, 0.831_566_5, 1.0),
        ] {
            let found = clopper_pearson(n_events, n_trials, 0.95);
            for (found, wanted) in [(found.low, low), (found.high, high)] {
                assert!(
                    (found - wanted).abs() <= 1e-6 * wanted + 1e-12,
                    "{n_events}/{n_trials}: {found} {wanted}"
                );
            }
        }
    }

    #[test]
    fn nothing_seen_in_no_trials_says_nothing() {
        assert_eq!(clopper_pearson(0, 0, 0.95), Interval { low: 0.0, high: 1.0 });
    }
}
