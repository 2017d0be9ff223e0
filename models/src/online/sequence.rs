//! What is common to all online rules: steps, rewinds, and images that raised an alarm.

use super::alarms::{Alarms, digest};
use super::heat_map::Places;
use super::pool::Pool;
use crate::error::{Error, Result};
use crate::traits::ImageShape;
use crate::verdict::{Label, PoolState, Verdict};
use ndarray::Array3;

/// A way to judge an image by the images believed normal before it.
pub(super) trait Rule {
    /// What of an image is compared.
    type Prepared;
    /// What is remembered after an accepted image.
    type State;

    /// The number of newest states that a judgement may read.
    fn depth(&self) -> usize;

    /// Takes from an image, `[channels, rows, columns]` in 0..=255, what is compared.
    ///
    /// # Errors
    ///
    /// As the rule says; the pool is then as it was.
    fn prepare(&mut self, pixels: &Array3<f32>) -> Result<Self::Prepared>;

    /// Judges an image whose step is later than all of the pool, by the newest [`depth`](Self::depth) states alone.
    ///
    /// # Errors
    ///
    /// As the rule says.
    fn judge(
        &self,
        pool: &mut Pool<Self::State>,
        step: i64,
        prepared: Self::Prepared,
    ) -> Result<Opinion<Self::State>>;

    /// Images to come until verdicts are given.
    fn needed(&self, pool: &Pool<Self::State>) -> usize;
}

/// What a rule says of an image.
#[derive(Debug)]
pub(super) struct Opinion<S> {
    pub(super) verdict: Verdict,
    pub(super) p_value: Option<f64>,
    /// In pixels of the preprocessed image.
    pub(super) region: Option<[usize; 4]>,
    /// What a heat map is drawn from; `None` without a p-value.
    pub(super) places: Option<Places>,
    /// The state if the image is accepted.
    pub(super) state: S,
}

/// What is said of one image of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sequel {
    pub(super) verdict: Verdict,
    pub(super) p_value: Option<f64>,
    /// In pixels of the preprocessed image.
    pub(super) region: Option<[usize; 4]>,
    pub(super) places: Option<Places>,
    pub(super) pool: PoolState,
    pub(super) forgot: usize,
    pub(super) reproducible: bool,
}

/// A run under one rule.
#[derive(Debug)]
pub(super) struct Sequence<R: Rule> {
    rule: R,
    pool: Pool<R::State>,
    alarms: Alarms,
    shape: Option<ImageShape>,
    /// The newest step judged, accepted or not.
    last_step: Option<i64>,
    max_alarms_at_step: usize,
}

impl<R: Rule> Sequence<R> {
    pub(super) fn new(rule: R, max_snapshots: usize, max_alarms_at_step: usize) -> Self {
        let pool = Pool::new(max_snapshots, rule.depth());
        Self { rule, pool, alarms: Alarms::default(), shape: None, last_step: None, max_alarms_at_step }
    }

    pub(super) fn pool(&self) -> &Pool<R::State> {
        &self.pool
    }

    pub(super) fn last_step(&self) -> Option<i64> {
        self.last_step
    }

    /// Judges the image of `step` and accepts it unless it raises an alarm. A step not later than one accepted makes the
    /// pool forget that and all later ones first. An error leaves everything as it was.
    pub(super) fn judge(&mut self, step: i64, pixels: &Array3<f32>) -> Result<Sequel> {
        let size = self.pool.size_without(step, |other| other >= step)?;
        let shape = image_shape(pixels);
        if let Some(wanted) = self.shape.filter(|&wanted| size > 0 && wanted != shape) {
            let words =
                |s: ImageShape| format!("{} channels of {} x {} pixels", s.channels, s.rows, s.columns);
            return Err(Error::Shape {
                what: "image, after its crop, among those of its run",
                wanted: words(wanted),
                found: words(shape),
            });
        }
        let prepared = self.rule.prepare(pixels)?;
        let forgot = self.pool.truncate(size);
        let Opinion { mut verdict, p_value, region, places, state } =
            self.rule.judge(&mut self.pool, step, prepared)?;
        (self.shape, self.last_step) = (Some(shape), Some(step));

        let mut reproducible = false;
        let n_alarms = self.alarms.n_at(step);
        if n_alarms > 0 || verdict.label == Label::Anomalous {
            let digest = digest(pixels);
            reproducible = self.alarms.contains(step, &digest)
                || verdict.label == Label::Anomalous && n_alarms >= self.max_alarms_at_step;
            if !reproducible && verdict.label == Label::Anomalous {
                self.alarms.remember(step, digest);
            }
        }
        if reproducible && verdict.label == Label::Anomalous {
            verdict.label = Label::Normal;
        }
        if verdict.label != Label::Anomalous {
            self.pool.push(step, state);
        }
        let pool = PoolState { size: self.pool.size(), needed: self.rule.needed(&self.pool) };
        Ok(Sequel { verdict, p_value, region, places, pool, forgot, reproducible })
    }

    /// Forgets the images with a step later than `step`; returns how many. The alarms stay known.
    pub(super) fn rewind(&mut self, step: i64) -> Result<usize> {
        let size = self.pool.size_without(step, |other| other > step)?;
        if self.last_step.is_some_and(|last| last > step) {
            let forgotten = self.pool.truncate(size);
            self.last_step = self.pool.last_step();
            return Ok(forgotten);
        }
        Ok(0)
    }
}

fn image_shape(pixels: &Array3<f32>) -> ImageShape {
    let (channels, rows, columns) = pixels.dim();
    ImageShape { channels, rows, columns }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Alarms if the first pixel is more than 10 above the newest accepted one.
    struct Jump;

    impl Rule for Jump {
        type Prepared = f32;
        type State = f32;

        fn depth(&self) -> usize {
            1
        }

        fn prepare(&mut self, pixels: &Array3<f32>) -> Result<f32> {
            Ok(pixels[[0, 0, 0]])
        }

        fn judge(&self, pool: &mut Pool<f32>, _: i64, value: f32) -> Result<Opinion<f32>> {
            let verdict = match pool.newest() {
                Some(newest) => Verdict::by_threshold(f64::from(value - newest), 10.0),
                None => Verdict::unknown(),
            };
            Ok(Opinion { verdict, p_value: None, region: None, places: None, state: value })
        }

        fn needed(&self, pool: &Pool<f32>) -> usize {
            usize::from(pool.size() == 0)
        }
    }

    fn image(value: f32) -> Array3<f32> {
        Array3::from_elem((1, 2, 2), value)
    }

    fn sequence(values: &[f32]) -> Sequence<Jump> {
        let mut sequence = Sequence::new(Jump, 8, 3);
        for (step, &value) in values.iter().enumerate() {
            sequence.judge(step as i64, &image(value)).unwrap();
        }
        sequence
    }

    fn label(sequence: &mut Sequence<Jump>, step: i64, value: f32) -> (Label, bool) {
        let sequel = sequence.judge(step, &image(value)).unwrap();
        (sequel.verdict.label, sequel.reproducible)
    }

    #[test]
    fn an_image_that_raises_an_alarm_stays_out() {
        let mut sequence = sequence(&[1.0, 2.0]);
        assert_eq!(label(&mut sequence, 2, 50.0), (Label::Anomalous, false));
        assert_eq!((sequence.pool().size(), sequence.last_step()), (2, Some(2)));
        assert_eq!(label(&mut sequence, 3, 3.0), (Label::Normal, false));
    }

    #[test]
    fn after_a_rewind_the_same_image_is_reproducible_and_another_is_judged_afresh() {
        let mut sequence = sequence(&[1.0, 2.0]);
        assert_eq!(label(&mut sequence, 2, 50.0), (Label::Anomalous, false));
        assert_eq!(sequence.rewind(0).unwrap(), 1);
        assert_eq!(label(&mut sequence, 1, 2.0), (Label::Normal, false));
        assert_eq!(label(&mut sequence, 2, 60.0), (Label::Anomalous, false), "other pixels");
        assert_eq!(label(&mut sequence, 2, 50.0), (Label::Normal, true), "the same pixels");
        assert_eq!(sequence.pool().size(), 3);
        sequence.rewind(1).unwrap();
        assert_eq!(label(&mut sequence, 2, 50.0), (Label::Normal, true), "however often it is replayed");
    }

    #[test]
    fn a_run_that_is_not_reproducible_bit_for_bit_passes_after_some_alarms_at_one_step() {
        let mut sequence = sequence(&[1.0]);
        let labels = [50.0, 50.25, 50.5, 50.75].map(|value| label(&mut sequence, 1, value));
        assert_eq!(labels[..3], [(Label::Anomalous, false); 3]);
        assert_eq!(labels[3], (Label::Normal, true));
    }

    #[test]
    fn a_repeated_step_replaces_and_an_earlier_one_forgets_the_later_ones() {
        let mut sequence = sequence(&[1.0, 2.0, 3.0, 4.0]);
        let repeated = sequence.judge(3, &image(4.5)).unwrap();
        assert_eq!((repeated.forgot, repeated.pool.size), (1, 4));
        let earlier = sequence.judge(1, &image(2.5)).unwrap();
        assert_eq!((earlier.forgot, earlier.pool.size), (3, 2));
        assert_eq!(sequence.last_step(), Some(1));
        let least = sequence.judge(i64::MIN, &image(2.5)).unwrap();
        assert_eq!((least.forgot, least.pool.size, least.verdict.label), (2, 1, Label::Unknown));
    }

    #[test]
    fn a_rewind_to_the_last_step_or_later_forgets_nothing() {
        let mut sequence = sequence(&[1.0, 2.0, 3.0]);
        assert_eq!([2, 3, 100].map(|step| sequence.rewind(step).unwrap()), [0, 0, 0]);
        assert_eq!((sequence.rewind(-1).unwrap(), sequence.last_step()), (3, None));
    }

    #[test]
    fn a_step_older_than_the_oldest_state_is_an_error_and_changes_nothing() {
        let mut sequence = sequence(&[1.0; 30]);
        for error in [sequence.rewind(5).unwrap_err(), sequence.judge(6, &image(1.0)).unwrap_err()] {
            assert!(matches!(error, Error::Step { .. }), "{error}");
        }
        assert_eq!((sequence.pool().size(), sequence.last_step()), (30, Some(29)));
    }

    #[test]
    fn an_image_of_other_dimensions_is_refused_before_it_makes_anything_forgotten() {
        let mut sequence = sequence(&[1.0, 2.0, 3.0]);
        let other = Array3::from_elem((1, 3, 2), 1.0);
        for step in [1, 3] {
            let error = sequence.judge(step, &other).unwrap_err();
            assert!(matches!(error, Error::Shape { .. }), "{error}");
            assert_eq!(sequence.pool().size(), 3);
        }
        sequence.rewind(-1).unwrap();
        assert!(sequence.judge(0, &other).is_ok(), "an empty pool takes any dimensions");
    }
}
