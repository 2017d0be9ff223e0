//! What is common to all online rules: steps, rewinds, and images that raised an alarm.

use super::heat_map::Places;
use super::known::{Known, Truth, digest};
use super::pool::{Entry, Pool};
use crate::error::{Error, Result};
use crate::traits::ImageShape;
use crate::verdict::{Label, PoolState, Verdict};
use ndarray::Array3;
use std::collections::VecDeque;

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
    /// - `rate`: the p-value below which an image is anomalous, for a rule that has p-values. The state must not depend on it.
    ///
    /// # Errors
    ///
    /// As the rule says.
    fn judge(
        &self,
        pool: &mut Pool<Self::State>,
        step: i64,
        prepared: Self::Prepared,
        rate: f64,
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
    /// What an operator has said of this very image.
    pub(super) truth: Option<Truth>,
}

/// How far a simulation has gone back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    /// To right after the step.
    To(i64),
    /// To right before the step.
    Before(i64),
}

impl Back {
    /// Whether an image of `other` is forgotten.
    fn forgets(self, other: i64) -> bool {
        match self {
            Self::To(step) => other > step,
            Self::Before(step) => other >= step,
        }
    }

    /// The step that was named.
    fn step(self) -> i64 {
        match self {
            Self::To(step) | Self::Before(step) => step,
        }
    }
}

/// What became of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labelled {
    /// The image is among those believed normal, now.
    pub in_pool: bool,
    /// It was before.
    pub was_in_pool: bool,
    /// The number of images forgotten, the labelled one included.
    pub forgot: usize,
}

/// Images kept out whose states are held, so that an operator can let one in: those of the newest steps.
const MAX_KEPT: usize = 4;

/// A run under one rule.
#[derive(Debug)]
pub(super) struct Sequence<R: Rule> {
    rule: R,
    pool: Pool<R::State>,
    known: Known,
    /// Images kept out since the pool last changed, with the states they would have led to.
    kept: VecDeque<Entry<R::State>>,
    shape: Option<ImageShape>,
    /// The newest step judged, accepted or not.
    last_step: Option<i64>,
    max_alarms_at_step: usize,
}

impl<R: Rule> Sequence<R> {
    pub(super) fn new(rule: R, max_snapshots: usize, max_alarms_at_step: usize) -> Self {
        let pool = Pool::new(max_snapshots, rule.depth());
        let (known, kept) = (Known::default(), VecDeque::new());
        Self { rule, pool, known, kept, shape: None, last_step: None, max_alarms_at_step }
    }

    pub(super) fn pool(&self) -> &Pool<R::State> {
        &self.pool
    }

    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    pub(super) fn last_step(&self) -> Option<i64> {
        self.last_step
    }

    /// Keeps an image out that is wrong by itself, whatever came before; returns how many images it made the pool forget. It is
    /// not remembered as an alarm: nothing makes it right.
    ///
    /// # Errors
    ///
    /// [`Error::Step`], and nothing is changed, if the simulation has gone back too far.
    pub(super) fn refuse(&mut self, step: i64) -> Result<usize> {
        let back = Back::Before(step);
        let forgot = self.forget(self.size_after(back)?, back);
        self.last_step = Some(step);
        Ok(forgot)
    }

    /// What the pool holds.
    pub(super) fn pool_state(&self) -> PoolState {
        PoolState { size: self.pool.size(), needed: self.rule.needed(&self.pool) }
    }

    /// Judges the image of `step` and accepts it unless it raises an alarm. A step not later than one accepted makes the
    /// pool forget that and all later ones first. An error leaves everything as it was.
    ///
    /// - `rate`: the p-value below which an image is anomalous; the state that follows does not depend on it.
    pub(super) fn judge(&mut self, step: i64, pixels: &Array3<f32>, rate: f64) -> Result<Sequel> {
        let back = Back::Before(step);
        let size = self.size_after(back)?;
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
        let forgot = self.forget(size, back);
        let Opinion { mut verdict, p_value, region, places, state } =
            self.rule.judge(&mut self.pool, step, prepared, rate)?;
        (self.shape, self.last_step) = (Some(shape), Some(step));

        let entry = Entry { step, digest: digest(pixels), state };
        let before = self.known.find(step, &entry.digest);
        let alarmed = verdict.label == Label::Anomalous;
        let truth = before.and_then(|image| image.truth);
        let reproducible = truth.is_none()
            && (before.is_some_and(|image| image.alarmed)
                || alarmed && self.known.n_alarms_at(step) >= self.max_alarms_at_step);
        if alarmed && !reproducible {
            self.known.alarm(step, entry.digest);
        }
        match truth {
            Some(Truth::Normal) => verdict.label = Label::Normal,
            Some(Truth::Anomalous) => {
                verdict.label = Label::Anomalous;
                // Now the newest of its step.
                self.known.label(step, entry.digest, Truth::Anomalous);
            }
            None if reproducible && alarmed => verdict.label = Label::Normal,
            None => {}
        }
        if verdict.label == Label::Anomalous {
            self.kept.truncate(MAX_KEPT - 1);
            self.kept.push_front(entry);
        } else {
            self.accept(entry);
        }
        let pool = self.pool_state();
        Ok(Sequel { verdict, p_value, region, places, pool, forgot, reproducible, truth })
    }

    /// How many images would be left if the run went back.
    ///
    /// # Errors
    ///
    /// [`Error::Step`] if it cannot.
    pub(super) fn size_after(&self, back: Back) -> Result<usize> {
        self.pool.size_without(back.step(), |other| back.forgets(other))
    }

    /// Whether the image of `step` is in the pool, with its state.
    pub(super) fn has_accepted(&self, step: i64) -> bool {
        self.pool.digest_at(step).is_some()
    }

    /// Goes back; returns how many images were forgotten. What is known of images stays known.
    pub(super) fn go(&mut self, back: Back) -> Result<usize> {
        let size = self.size_after(back)?;
        if self.last_step.is_some_and(|last| back.forgets(last)) {
            let forgotten = self.forget(size, back);
            self.last_step = self.pool.last_step();
            return Ok(forgotten);
        }
        Ok(0)
    }

    /// Takes an operator's word for the newest image of `step`; `None`, and nothing is changed, if no image of that step is
    /// remembered.
    ///
    /// An image kept out that is normal joins the pool if nothing has changed in the pool since, else when it comes back. An
    /// accepted image that is anomalous is forgotten with all later ones. The same pixels at that step are from now on what
    /// the operator says.
    ///
    /// # Errors
    ///
    /// [`Error::Step`], and nothing is changed, if the state before an accepted image is no longer held.
    pub(super) fn label(&mut self, step: i64, truth: Truth) -> Result<Option<Labelled>> {
        let accepted = self.pool.digest_at(step);
        let Some(digest) = accepted.or_else(|| self.known.newest_at(step).map(|image| image.digest)) else {
            return Ok(None);
        };
        let was_in_pool = accepted.is_some();
        let mut labelled = Labelled { in_pool: was_in_pool, was_in_pool, forgot: 0 };
        match truth {
            Truth::Anomalous if was_in_pool => {
                labelled = Labelled { in_pool: false, was_in_pool, forgot: self.go(Back::Before(step))? };
            }
            Truth::Normal if !was_in_pool => {
                let kept = self.kept.iter().position(|kept| kept.step == step && kept.digest == digest);
                if let Some(entry) = kept.and_then(|idx| self.kept.remove(idx)) {
                    self.accept(entry);
                    labelled.in_pool = true;
                }
            }
            _ => {}
        }
        self.known.label(step, digest, truth);
        Ok(Some(labelled))
    }

    fn accept(&mut self, entry: Entry<R::State>) {
        self.pool.push(entry);
        // They were judged by a pool without this image.
        self.kept.clear();
    }

    /// Truncates the pool to `size` images, those left by going `back`; returns how many were forgotten.
    fn forget(&mut self, size: usize, back: Back) -> usize {
        let forgotten = self.pool.truncate(size);
        if forgotten > 0 {
            self.kept.clear();
        }
        self.kept.retain(|kept| !back.forgets(kept.step));
        forgotten
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

        fn judge(&self, pool: &mut Pool<f32>, _: i64, value: f32, _: f64) -> Result<Opinion<f32>> {
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

    const RATE: f64 = 1e-3;

    fn image(value: f32) -> Array3<f32> {
        Array3::from_elem((1, 2, 2), value)
    }

    fn sequence(values: &[f32]) -> Sequence<Jump> {
        let mut sequence = Sequence::new(Jump, 8, 3);
        for (step, &value) in values.iter().enumerate() {
            sequence.judge(step as i64, &image(value), RATE).unwrap();
        }
        sequence
    }

    fn label(sequence: &mut Sequence<Jump>, step: i64, value: f32) -> (Label, bool) {
        let sequel = sequence.judge(step, &image(value), RATE).unwrap();
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
        assert_eq!(sequence.go(Back::To(0)).unwrap(), 1);
        assert_eq!(label(&mut sequence, 1, 2.0), (Label::Normal, false));
        assert_eq!(label(&mut sequence, 2, 60.0), (Label::Anomalous, false), "other pixels");
        assert_eq!(label(&mut sequence, 2, 50.0), (Label::Normal, true), "the same pixels");
        assert_eq!(sequence.pool().size(), 3);
        sequence.go(Back::To(1)).unwrap();
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
        let repeated = sequence.judge(3, &image(4.5), RATE).unwrap();
        assert_eq!((repeated.forgot, repeated.pool.size), (1, 4));
        let earlier = sequence.judge(1, &image(2.5), RATE).unwrap();
        assert_eq!((earlier.forgot, earlier.pool.size), (3, 2));
        assert_eq!(sequence.last_step(), Some(1));
        let least = sequence.judge(i64::MIN, &image(2.5), RATE).unwrap();
        assert_eq!((least.forgot, least.pool.size, least.verdict.label), (2, 1, Label::Unknown));
    }

    #[test]
    fn a_rewind_to_the_last_step_or_later_forgets_nothing() {
        let mut sequence = sequence(&[1.0, 2.0, 3.0]);
        assert_eq!([2, 3, 100].map(|step| sequence.go(Back::To(step)).unwrap()), [0, 0, 0]);
        assert_eq!((sequence.go(Back::To(-1)).unwrap(), sequence.last_step()), (3, None));
    }

    #[test]
    fn a_step_older_than_the_oldest_state_is_an_error_and_changes_nothing() {
        let mut sequence = sequence(&[1.0; 30]);
        for error in
            [sequence.go(Back::To(5)).unwrap_err(), sequence.judge(6, &image(1.0), RATE).unwrap_err()]
        {
            assert!(matches!(error, Error::Step { .. }), "{error}");
        }
        assert_eq!((sequence.pool().size(), sequence.last_step()), (30, Some(29)));
    }

    #[test]
    fn an_image_of_other_dimensions_is_refused_before_it_makes_anything_forgotten() {
        let mut sequence = sequence(&[1.0, 2.0, 3.0]);
        let other = Array3::from_elem((1, 3, 2), 1.0);
        for step in [1, 3] {
            let error = sequence.judge(step, &other, RATE).unwrap_err();
            assert!(matches!(error, Error::Shape { .. }), "{error}");
            assert_eq!(sequence.pool().size(), 3);
        }
        sequence.go(Back::To(-1)).unwrap();
        assert!(sequence.judge(0, &other, RATE).is_ok(), "an empty pool takes any dimensions");
    }

    fn told(in_pool: bool, was_in_pool: bool, forgot: usize) -> Option<Labelled> {
        Some(Labelled { in_pool, was_in_pool, forgot })
    }

    #[test]
    fn an_alarmed_image_that_is_normal_joins_the_pool_at_once_as_if_it_had_raised_no_alarm() {
        let mut sequence = sequence(&[1.0, 2.0]);
        assert_eq!(label(&mut sequence, 2, 50.0), (Label::Anomalous, false));
        assert_eq!(label(&mut sequence, 3, 51.0), (Label::Anomalous, false));
        assert_eq!(sequence.label(2, Truth::Normal).unwrap(), told(true, false, 0));
        assert_eq!((sequence.pool().size(), sequence.pool().newest()), (3, Some(&50.0)));
        assert_eq!(sequence.label(2, Truth::Normal).unwrap(), told(true, true, 0), "said twice");
        assert_eq!(
            sequence.label(3, Truth::Normal).unwrap(),
            told(false, false, 0),
            "that was judged by a pool without step 2"
        );
        assert_eq!(label(&mut sequence, 4, 52.0), (Label::Normal, false));
        assert_eq!(sequence.go(Back::To(2)).unwrap(), 1);
        let back = sequence.judge(3, &image(51.0), RATE).unwrap();
        assert_eq!(
            (back.verdict.label, back.reproducible, back.truth),
            (Label::Normal, false, Some(Truth::Normal))
        );
    }

    #[test]
    fn an_alarmed_image_that_is_normal_joins_later_where_the_pool_has_gone_on() {
        let mut sequence = sequence(&[1.0, 2.0]);
        label(&mut sequence, 2, 50.0);
        label(&mut sequence, 3, 3.0);
        assert_eq!(sequence.label(2, Truth::Normal).unwrap(), told(false, false, 0));
        assert_eq!(sequence.pool().last_step(), Some(3));
        sequence.go(Back::To(1)).unwrap();
        assert_eq!(label(&mut sequence, 2, 51.0), (Label::Anomalous, false), "other pixels");
        let back = sequence.judge(2, &image(50.0), RATE).unwrap();
        assert_eq!((back.verdict.label, back.truth, back.pool.size), (Label::Normal, Some(Truth::Normal), 3));
    }

    #[test]
    fn an_accepted_image_that_is_anomalous_is_forgotten_with_all_later_ones_and_stays_out() {
        let mut sequence = sequence(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(sequence.label(2, Truth::Anomalous).unwrap(), told(false, true, 3));
        assert_eq!((sequence.pool().size(), sequence.last_step()), (2, Some(1)));
        for _ in 0..5 {
            let again = sequence.judge(2, &image(3.0), RATE).unwrap();
            assert_eq!(
                (again.verdict.label, again.reproducible, again.truth),
                (Label::Anomalous, false, Some(Truth::Anomalous)),
                "however often it comes back"
            );
        }
        assert_eq!(label(&mut sequence, 2, 3.5), (Label::Normal, false), "other pixels");
        sequence.label(2, Truth::Anomalous).unwrap();
        label(&mut sequence, 2, 3.0);
        assert_eq!(sequence.label(2, Truth::Normal).unwrap(), told(true, false, 0), "the operator was wrong");
    }

    #[test]
    fn a_label_for_a_step_that_is_not_remembered_changes_nothing() {
        let mut sequence = sequence(&[1.0; 30]);
        for step in [-1, 3, 30] {
            assert_eq!(sequence.label(step, Truth::Normal).unwrap(), None, "{step}");
        }
        assert_eq!((sequence.pool().size(), sequence.known().iter().len()), (30, 0));
        let error = sequence.label(22, Truth::Anomalous).unwrap_err();
        assert!(matches!(error, Error::Step { .. }), "the state before is not held: {error}");
        assert_eq!(sequence.pool().size(), 30);
    }

    #[test]
    fn images_kept_out_are_few_and_a_rewind_drops_those_of_later_steps() {
        let mut sequence = sequence(&[1.0, 2.0]);
        (2..20)
            .for_each(|step| assert_eq!(label(&mut sequence, step, 50.0 + step as f32).0, Label::Anomalous));
        assert_eq!(sequence.kept.len(), MAX_KEPT);
        assert_eq!(sequence.go(Back::To(17)).unwrap(), 0);
        assert_eq!(sequence.label(18, Truth::Normal).unwrap(), told(false, false, 0), "it is to come again");
        assert_eq!(sequence.label(17, Truth::Normal).unwrap(), told(true, false, 0));
    }
}
