//! How improbable a residual is, judged by the run's own earlier ones: a generalised Pareto tail, steadied by a prior.

/// The least standard deviation of residuals of a log score: a run whose images resemble each other closely would otherwise
/// find a difference of a few per cent improbable.
const LEAST_SIGMA: f64 = 0.03;

/// The same as a median absolute deviation.
pub(super) const LEAST_DEVIATION: f64 = LEAST_SIGMA / MAD_TO_SIGMA;

/// Turns a median absolute deviation into the standard deviation of a normal distribution.
const MAD_TO_SIGMA: f64 = 1.4826;

/// The deviation of `n` residuals is taken for 1 + this / n times what it seems: a dozen may lie close together by chance.
const FEW: f64 = 4.0;

/// The fraction of residuals that lies beyond the start of the tail.
const TAIL_FRACTION: f64 = 0.2;

/// In standard deviations, where the tail of a normal distribution with that fraction begins: the tail of a few lucky
/// residuals begins no earlier.
const NORMAL_TAIL: f64 = 0.84;

/// Ten exceedances in units of [`PRIOR_SCALE`] standard deviations that are counted beside those of the run: they stand for
/// an exponential distribution, and outvote a handful of observations.
const PRIOR_EXCEEDANCES: [f64; 10] = [0.05, 0.15, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 2.5, 3.0];

/// The unit of the prior exceedances in standard deviations.
const PRIOR_SCALE: f64 = 0.6;

/// The shape believed before any exceedance is seen, somewhat heavier than an exponential tail, and how many exceedances
/// that belief weighs.
const PRIOR_SHAPE: f64 = 0.15;
const PRIOR_WEIGHT: f64 = 10.0;

/// The shape is held within these limits: a tail has no end (a bound would make the first larger residual impossible), and
/// it has a variance.
const SHAPE_LIMITS: (f64, f64) = (0.05, 0.5);

/// The distribution of a run's residuals.
///
/// Beyond the start of the tail, at their 80 % quantile, a generalised Pareto distribution is fitted to the exceedances by
/// moments (Hosking and Wallis 1987, equations 5 and 6), its shape shrunk to a prior one; before it, the residuals are
/// counted.
#[derive(Debug)]
pub(super) struct Tail<'a> {
    residuals: &'a [f64],
    start: f64,
    shape: f64,
    scale: f64,
    /// What residuals are divided by before they are judged.
    width: f64,
}

impl<'a> Tail<'a> {
    /// Fits the tail to earlier residuals.
    ///
    /// - `residuals`: `[n]`, n >= 1, finite, in any order.
    pub(super) fn fit(residuals: &'a [f64]) -> Self {
        let centre = median(residuals);
        let deviations: Vec<f64> = residuals.iter().map(|r| (r - centre).abs()).collect();
        let few = 1.0 + FEW / residuals.len() as f64;
        let sigma = few * (MAD_TO_SIGMA * median(&deviations)).max(LEAST_SIGMA);
        let start = quantile(residuals, 1.0 - TAIL_FRACTION).max(NORMAL_TAIL * sigma);
        let seen: Vec<f64> = residuals.iter().map(|r| r - start).filter(|&e| e > 0.0).collect();
        let prior = PRIOR_EXCEEDANCES.map(|e| PRIOR_SCALE * sigma * e);
        let n = (seen.len() + prior.len()) as f64;
        let mean = seen.iter().chain(&prior).sum::<f64>() / n;
        let variance = seen.iter().chain(&prior).map(|e| (e - mean).powi(2)).sum::<f64>() / n;
        let moment_shape = 0.5 * (1.0 - mean * mean / variance);
        let weight = seen.len() as f64;
        let shape = ((weight * moment_shape + PRIOR_WEIGHT * PRIOR_SHAPE) / (weight + PRIOR_WEIGHT))
            .clamp(SHAPE_LIMITS.0, SHAPE_LIMITS.1);
        Self { residuals, start, shape, scale: mean * (1.0 - shape), width: 1.0 }
    }

    /// The distribution of residuals that lie `width` times as far apart, at least 1.
    pub(super) fn widened(self, width: f64) -> Self {
        Self { width, ..self }
    }

    /// The probability of a residual of at least `residual` if it is drawn as the earlier ones were, in (0, 1].
    pub(super) fn p_value(&self, residual: f64) -> f64 {
        let residual = residual / self.width;
        if residual <= self.start {
            let n_as_large = self.residuals.iter().filter(|&&r| r >= residual).count();
            return (n_as_large as f64 / self.residuals.len() as f64).max(TAIL_FRACTION);
        }
        let growth = 1.0 + self.shape * (residual - self.start) / self.scale;
        (TAIL_FRACTION * growth.powf(-1.0 / self.shape)).max(f64::MIN_POSITIVE)
    }

    /// The residual that has this p-value, which lies in the tail.
    ///
    /// - `p_value`: above 0, at most [`TAIL_FRACTION`].
    pub(super) fn residual_at(&self, p_value: f64) -> f64 {
        let narrow =
            self.start + self.scale / self.shape * ((p_value / TAIL_FRACTION).powf(-self.shape) - 1.0);
        narrow * self.width
    }
}

/// The median: the mean of the two middle values if their number is even.
///
/// # Panics
///
/// If `values` is empty.
pub(super) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The quantile by linear interpolation between order statistics (Hyndman and Fan 1996, type 7).
fn quantile(values: &[f64], fraction: f64) -> f64 {
    assert!(!values.is_empty(), "a quantile of nothing; this is a bug");
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let position = fraction * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    fn p_value(residuals: &[f64], residual: f64) -> f64 {
        Tail::fit(residuals).p_value(residual)
    }

    #[test]
    fn the_residual_at_a_p_value_has_that_p_value() {
        let mut rng = Rng::new(12);
        let past: Vec<f64> = (0..100).map(|_| 0.2 * rng.normal()).collect();
        let tail = Tail::fit(&past);
        for p in [0.1, 1e-2, 1e-3, 1e-6] {
            assert!((tail.p_value(tail.residual_at(p)) / p - 1.0).abs() < 1e-9, "{p}");
        }
    }

    #[test]
    fn quantiles_interpolate_as_numpys_do() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!((quantile(&[1.0, 2.0, 3.0, 4.0], 0.8) - 3.4).abs() < 1e-12);
    }

    #[test]
    fn normal_residuals_alarm_at_about_the_rate_asked_for() {
        let mut rng = Rng::new(11);
        let (mut n_low, mut n_rare, n) = (0, 0, 20_000);
        let mut past: Vec<f64> = (0..300).map(|_| 0.1 * rng.normal()).collect();
        for i in 0..n {
            let residual = 0.1 * rng.normal();
            let p = p_value(&past, residual);
            n_low += usize::from(p < 1e-2);
            n_rare += usize::from(p < 1e-3);
            let place = i % 300;
            past[place] = residual;
        }
        // The prior's tail is heavier than a normal one: fewer alarms than asked for, but not none.
        assert!((40..=200).contains(&n_low), "{n_low} of {n} below 1e-2");
        assert!(n_rare <= 20, "{n_rare} of {n} below 1e-3");
    }

    #[test]
    fn ten_residuals_suffice_for_a_small_p_value_but_not_for_a_close_one() {
        let residuals = [-0.1, 0.05, 0.0, 0.1, -0.05, 0.08, -0.02, 0.03, -0.07, 0.01];
        assert!(p_value(&residuals, 2.0) < 1e-3);
        assert!(p_value(&residuals, 0.2) > 1e-2);
    }

    #[test]
    fn residuals_without_any_spread_give_a_finite_p_value() {
        assert_eq!(p_value(&[0.0; 20], 0.0), 1.0);
        let p = p_value(&[0.0; 20], 1e6);
        assert!(p > 0.0 && p < 1e-9, "{p}");
    }

    #[test]
    fn the_tail_fitted_to_a_prior_alone_is_as_computed_by_hand() {
        // sigma .03 * 1.2, start .03024, no exceedance: mean .6 * .036 * 1.16 = .025056, shape .15, scale .0212976.
        let p = p_value(&[0.0; 20], 0.13024);
        let expected = 0.2 * (1.0 + 0.15 * 0.1 / 0.021_297_6f64).powf(-1.0 / 0.15);
        assert!((p / expected - 1.0).abs() < 1e-9, "{p} {expected}");
    }

    proptest! {
        #[test]
        fn a_larger_residual_is_never_more_probable(
            residuals in prop::collection::vec(-1.0..1.0f64, 10..100), a in -2.0..8.0f64, b in -2.0..8.0f64,
        ) {
            let (low, high) = (p_value(&residuals, a.min(b)), p_value(&residuals, a.max(b)));
            prop_assert!(high <= low && high > 0.0 && low <= 1.0, "{} {}", low, high);
        }
    }
}
