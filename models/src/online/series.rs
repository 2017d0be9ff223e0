//! One number an image, judged one step ahead as the default method judges its maps: what a cheap baseline can do.

use super::history::History;
use super::surprise::{FRESHNESS, LEAST_SURPRISE};

/// A number that belongs to each image of a run, such as its mean.
///
/// The change from the last accepted number is measured by recent changes, its logarithm by the median of the last ones, and
/// the residual by the tail of earlier residuals: the machinery of [`OnlineMethod::OneStepAhead`](super::OnlineMethod), for a map
/// of one place. So the comparison with a baseline is one of evidence, not of thresholds.
#[derive(Debug, Clone)]
pub struct ScalarRun {
    unit: f64,
    newest: Option<f64>,
    scale: Option<f64>,
    history: History,
}

impl ScalarRun {
    /// A run without numbers.
    ///
    /// - `unit`: above 0; added to the scale of changes, so that a quiet run does not turn rounding into surprise.
    pub fn new(unit: f64) -> Self {
        Self { unit, newest: None, scale: None, history: History::default() }
    }

    fn change(&self, value: f64) -> Option<f64> {
        self.newest.map(|newest| (value - newest).abs())
    }

    fn surprise(&self, value: f64) -> Option<f64> {
        let (change, scale) = self.change(value).zip(self.scale)?;
        Some((change / (scale + self.unit)).max(LEAST_SURPRISE).ln())
    }

    /// The probability of a number that differs at least as much from those before, in (0, 1]; `None` in the first 15 numbers.
    pub fn p_value(&self, value: f64) -> Option<f64> {
        self.history.p_value(self.surprise(value)?)
    }

    /// Takes a number, finite, into the run's past.
    pub fn accept(&mut self, value: f64) {
        if let Some(surprise) = self.surprise(value) {
            self.history.accept(surprise);
        }
        if let Some(change) = self.change(value) {
            self.scale =
                Some(self.scale.map_or(change, |scale| scale + f64::from(FRESHNESS) * (change - scale)));
        }
        self.newest = Some(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn run(n: usize) -> ScalarRun {
        let mut rng = Rng::new(5);
        let mut run = ScalarRun::new(0.1);
        (0..n).for_each(|i| run.accept(0.3 * i as f64 + rng.normal()));
        run
    }

    #[test]
    fn a_p_value_is_given_from_the_sixteenth_number_on() {
        assert_eq!(run(14).p_value(4.0), None);
        assert!(run(15).p_value(4.5).is_some());
    }

    #[test]
    fn a_drift_is_normal_and_a_jump_is_not() {
        let run = run(100);
        assert!(run.p_value(30.5).unwrap() > 0.01);
        assert!(run.p_value(300.0).unwrap() < 1e-3 && run.p_value(-300.0).unwrap() < 1e-3);
        assert!(run.p_value(300.0) < run.p_value(60.0));
    }

    #[test]
    fn judging_changes_nothing_and_constant_numbers_are_normal() {
        let mut constant = ScalarRun::new(1.0);
        (0..40).for_each(|_| constant.accept(7.0));
        assert_eq!((constant.p_value(7.0), constant.p_value(7.0)), (Some(1.0), Some(1.0)));
        assert!(constant.p_value(1000.0).unwrap() < 1e-3);
    }
}
