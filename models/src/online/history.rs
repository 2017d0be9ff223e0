//! The run's past of one number an image: what is usual, and how improbable a new one is.

use super::record::Record;
use super::record_draft::RecordDraft;
use super::tail::{LEAST_DEVIATION, Tail, median};
use crate::error::Result;
use std::sync::Arc;

/// Newest numbers whose median is the level: long enough to be steady, short against a run's drift.
const MAX_LEVELS: usize = 20;

/// Numbers before there is a level.
pub(super) const MIN_LEVELS: usize = 3;

/// Newest residuals that the tail is fitted to.
const MAX_RESIDUALS: usize = 300;

/// Residuals before a p-value is given; the prior of the tail weighs as much.
pub(super) const MIN_RESIDUALS: usize = 10;

/// What an earlier run calls a residual counts for 1 + this / n of it in a run of n numbers.
const CAUTION: f64 = 4.0;

/// The numbers of the accepted images, such as their log surprises.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct History {
    /// The newest last.
    pub(super) levels: Vec<f64>,
    /// Of each number from the level before it; the newest last.
    pub(super) residuals: Vec<f64>,
    /// Of an earlier run, ascending; empty if none lends them. Not part of a record: whoever restores a state lends them again.
    pub(super) lent: Arc<[f64]>,
}

impl History {
    /// The median of the newest numbers, so that a run that grows livelier is judged by its own state.
    pub(super) fn level(&self) -> Option<f64> {
        (self.levels.len() >= MIN_LEVELS).then(|| median(&self.levels))
    }

    /// The distribution of the residuals, once there are enough.
    pub(super) fn tail(&self) -> Option<Tail<'_>> {
        if self.residuals.len() >= MIN_RESIDUALS {
            return Some(Tail::fit(&self.residuals));
        }
        let tail = (!self.lent.is_empty()).then(|| Tail::fit(&self.lent))?;
        // Nobody knows yet how this run differs from the other, nor is its level known well.
        let n_own = MIN_LEVELS + self.residuals.len();
        let livelier = (deviation(&self.residuals) / deviation(&self.lent).max(LEAST_DEVIATION)).max(1.0);
        Some(tail.widened(livelier * (1.0 + CAUTION / n_own as f64)))
    }

    /// The probability of a number at least as large, in (0, 1]; `None` while the history is too short.
    pub(super) fn p_value(&self, number: f64) -> Option<f64> {
        Some(self.tail()?.p_value(number - self.level()?))
    }

    /// The number that has this p-value, at most 0.2.
    pub(super) fn number_at(&self, p_value: f64) -> Option<f64> {
        Some(self.level()? + self.tail()?.residual_at(p_value))
    }

    /// Lets residuals of an earlier run, ascending, count as long as there are few of this one.
    pub(super) fn lend(&mut self, residuals: &[f64]) {
        if self.residuals.len() < MIN_RESIDUALS {
            self.lent = residuals.into();
        }
    }

    /// Takes the number of an accepted image, finite.
    pub(super) fn accept(&mut self, number: f64) {
        if let Some(level) = self.level() {
            push_bounded(&mut self.residuals, number - level, MAX_RESIDUALS);
        }
        push_bounded(&mut self.levels, number, MAX_LEVELS);
    }

    /// Forgets what is usual but not how much it varies: after a gap, or where the output interval has changed.
    pub(super) fn forget_level(&mut self) {
        self.levels.clear();
    }

    /// Puts the history into a record.
    pub(super) fn store<'a>(&'a self, name: &str, draft: &mut RecordDraft<'a>) {
        draft.put_flat(&format!("{name}.levels"), &self.levels);
        draft.put_flat(&format!("{name}.residuals"), &self.residuals);
    }

    /// The history of a record.
    pub(super) fn restore(name: &str, record: &Record) -> Result<Self> {
        Ok(Self {
            levels: record.get_flat(&format!("{name}.levels"), MAX_LEVELS)?,
            residuals: record.get_flat(&format!("{name}.residuals"), MAX_RESIDUALS)?,
            lent: Arc::default(),
        })
    }

    /// Numbers to come until there are p-values.
    pub(super) fn needed(&self) -> usize {
        let levels = MIN_LEVELS.saturating_sub(self.levels.len());
        if self.lent.is_empty() {
            levels + MIN_RESIDUALS.saturating_sub(self.residuals.len())
        } else {
            levels
        }
    }
}

/// The median distance from zero; 0 if there are no residuals.
fn deviation(residuals: &[f64]) -> f64 {
    let distances: Vec<f64> = residuals.iter().map(|r| r.abs()).collect();
    if distances.is_empty() { 0.0 } else { median(&distances) }
}

/// Appends a value; the oldest make room.
pub(super) fn push_bounded<T>(values: &mut Vec<T>, value: T, most: usize) {
    if values.len() >= most {
        values.drain(..=values.len() - most);
    }
    values.push(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn p_values_begin_after_three_levels_and_ten_residuals() {
        let mut rng = Rng::new(4);
        let mut history = History::default();
        for n in 0..20 {
            assert_eq!(history.p_value(0.0).is_some(), n >= 13, "{n}");
            assert_eq!(history.needed(), 13usize.saturating_sub(n));
            history.accept(0.1 * rng.normal());
        }
    }

    #[test]
    fn with_a_loan_p_values_begin_after_three_levels_until_there_is_a_past() {
        let mut rng = Rng::new(6);
        let mut lent: Vec<f64> = (0..300).map(|_| 0.1 * rng.normal()).collect();
        lent.sort_unstable_by(f64::total_cmp);
        let (mut history, mut alone) = (History::default(), History::default());
        history.lend(&lent);
        for n in 0..30 {
            assert_eq!(
                (history.needed(), history.p_value(0.0).is_some()),
                (3usize.saturating_sub(n), n >= 3)
            );
            if n >= 13 {
                assert_eq!(history.p_value(0.5), alone.p_value(0.5), "its own past alone counts");
            } else if n >= 3 {
                assert!(history.p_value(0.1).unwrap() > 0.05 && history.p_value(5.0).unwrap() < 1e-3, "{n}");
            }
            let number = 0.1 * rng.normal();
            [&mut history, &mut alone].into_iter().for_each(|history| history.accept(number));
        }
    }

    #[test]
    fn a_loan_of_a_run_that_hardly_varied_still_lets_a_jump_alarm() {
        let mut history = History::default();
        history.lend(&[0.0; 100]);
        [0.0, 0.01, -0.01, 0.0, 0.01].into_iter().for_each(|number| history.accept(number));
        assert!(history.p_value(0.01).unwrap() > 0.05 && history.p_value(2.0).unwrap() < 1e-3);
        assert!(history.number_at(1e-3).unwrap().is_finite());
    }

    #[test]
    fn a_drift_is_normal_and_a_jump_is_not() {
        let mut rng = Rng::new(5);
        let mut history = History::default();
        (0..400).for_each(|i| history.accept(0.005 * f64::from(i) + 0.1 * rng.normal()));
        assert!(history.p_value(2.05).unwrap() > 0.01);
        assert!(history.p_value(3.5).unwrap() < 1e-3);
        let number = history.number_at(1e-3).unwrap();
        assert!((history.p_value(number).unwrap() / 1e-3 - 1.0).abs() < 1e-9);
        assert_eq!((history.levels.len(), history.residuals.len()), (20, 300));
    }

    #[test]
    fn after_a_gap_the_level_is_learnt_anew_and_the_spread_is_kept() {
        let mut history = History::default();
        (0..30).for_each(|i| history.accept(f64::from(i % 3)));
        let spread = history.residuals.clone();
        history.forget_level();
        assert_eq!((history.needed(), history.p_value(0.0)), (3, None));
        (0..3).for_each(|_| history.accept(100.0));
        assert_eq!(history.residuals, spread);
        assert!(history.p_value(100.5).unwrap() > 0.1);
    }
}
