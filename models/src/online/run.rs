//! One simulation run as the daemon remembers it: images in their steps, verdicts out.

use super::forest_rule::ForestRule;
use super::heat_map::{HeatMap, Places};
use super::known::{KnownImage, Truth};
use super::manifest::StreamManifest;
use super::one_step_ahead::OneStepAhead;
use super::params::{OnlineMethod, OnlineParams};
use super::pixels::Pixels;
use super::prior::Prior;
use super::record_draft::RecordDraft;
use super::sequence::{Back, Labelled, Sequence};
use crate::error::{Error, Result};
use crate::extractor::{DeviceChoice, ExtractorSource, OwnExtractors, WeightsStore};
use crate::image::{Decoded, FieldParams, FieldScale, PolarPlane, Preprocess};
use crate::verdict::Judgement;
use std::sync::Arc;

#[path = "run_of_fields.rs"]
mod of_fields;

/// The images of one run believed normal so far, and the rule that judges the next by them.
///
/// A judgement depends on the parameters, the accepted images and their steps, and the image alone: the number of threads and
/// the time do not matter, and after a [`rewind`](Self::rewind) everything is, bit for bit, as it was, but for one thing: an image
/// that raised an alarm is known again. If it comes back the same, going back once more would not help, and it is accepted. So is
/// what an operator has said of an image ([`label`](Self::label)).
///
/// # Examples
///
/// ```
/// use anomalyd_models::extractor::{DeviceChoice, WeightsStore};
/// use anomalyd_models::image::{Decoded, Preprocess};
/// use anomalyd_models::online::{OnlineParams, OnlineRun};
/// use anomalyd_models::Label;
/// use ndarray::Array3;
///
/// # fn main() -> anomalyd_models::Result<()> {
/// let mut run = OnlineRun::new(OnlineParams::default(), Preprocess::default(), WeightsStore::default().into(), DeviceChoice::default())?;
/// for step in 1..=20 {
///     let pixels = Array3::from_shape_fn((48, 64, 1), |(row, column, _)| (row + 2 * column + step) as u8);
///     let judgement = run.judge(step as i64, &Decoded { pixels, format: "png" })?;
///     assert_eq!(judgement.verdict.label, if step < 16 { Label::Unknown } else { Label::Normal });
/// }
/// assert_eq!(run.rewind(18)?, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OnlineRun {
    preprocess: Preprocess,
    method: Method,
    false_alarm_rate: Option<f64>,
    newest: Option<Newest>,
    /// How fields become pictures; `None` while the run has images, or nothing.
    scale: Option<FieldScale>,
    field: FieldParams,
    /// Pixels that a field on a polar grid is drawn with, at most.
    max_pixels: usize,
    /// The plane of the fields' polar grid, if that is what they are on.
    plane: Option<PolarPlane>,
}

/// What a heat map of the newest judgement is drawn from.
#[derive(Debug)]
struct Newest {
    /// Rows, columns and channels of the file.
    dim: (usize, usize, usize),
    preprocess: Preprocess,
    /// By which it was drawn, if it was a field.
    scale: Option<FieldScale>,
    places: Places,
    /// The judgement's region if it scores above its threshold, in pixels of the file.
    outlined: Option<[usize; 4]>,
}

#[derive(Debug)]
enum Method {
    OneStepAhead(Sequence<OneStepAhead>),
    Forest(Sequence<ForestRule>),
}

impl OnlineRun {
    /// A run without images.
    ///
    /// - `preprocess`: applied to every image before it is judged.
    /// - `weights`, `device`: for an extractor that needs them; HOG, the default of both methods, does not.
    ///
    /// # Errors
    ///
    /// - [`Error::Parameter`](crate::Error::Parameter) if a parameter lies outside its range;
    /// - [`Error::Artefact`](crate::Error::Artefact) if the prior cannot be used.
    pub fn new(
        params: OnlineParams,
        preprocess: Preprocess,
        weights: Arc<WeightsStore>,
        device: DeviceChoice,
    ) -> Result<Self> {
        Self::with_extractors(params, preprocess, Arc::new(OwnExtractors::new(weights, device)))
    }

    /// A run without images whose features come from `extractors`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_extractors(
        params: OnlineParams,
        preprocess: Preprocess,
        extractors: Arc<dyn ExtractorSource>,
    ) -> Result<Self> {
        params.check()?;
        let OnlineParams { method, seed, max_snapshots, max_alarms_at_step, field, one_step_ahead, forest } =
            params;
        let max_pixels = one_step_ahead.max_pixels;
        let mut false_alarm_rate = None;
        let method = match method {
            OnlineMethod::OneStepAhead => {
                false_alarm_rate = Some(one_step_ahead.false_alarm_rate);
                let rule = OneStepAhead::new(one_step_ahead, seed, extractors)?;
                Method::OneStepAhead(Sequence::new(rule, max_snapshots, max_alarms_at_step))
            }
            OnlineMethod::Forest => {
                let rule = ForestRule::new(forest, seed, extractors);
                Method::Forest(Sequence::new(rule, max_snapshots, max_alarms_at_step))
            }
        };
        Ok(Self {
            preprocess,
            method,
            false_alarm_rate,
            newest: None,
            scale: None,
            field,
            max_pixels,
            plane: None,
        })
    }

    /// Judges the image of a step by those accepted before, and accepts it unless it raises an alarm.
    ///
    /// Steps increase, gaps allowed. A step at or before one already accepted means that the simulation has gone back: that
    /// and all later images are forgotten first, and counted in [`Judgement::forgot`].
    ///
    /// The verdict is `unknown` while the run warms up. By the default method the score is -log10 of the p-value and the
    /// threshold -log10 of the false-alarm rate. A reproducible event has the label `normal` whatever its score.
    ///
    /// # Errors
    ///
    /// The run is then as it was before:
    /// - [`Error::Step`](crate::Error::Step) if the simulation has gone back further than the run remembers;
    /// - [`Error::Shape`](crate::Error::Shape) if the image has other dimensions than the run's, or fewer than 8 x 8 pixels;
    /// - [`Error::Image`](crate::Error::Image) if the crop does not lie within it;
    /// - those of the extractor.
    pub fn judge(&mut self, step: i64, image: &Decoded) -> Result<Judgement> {
        if self.size_after(Back::Before(step))? > 0 && self.scale.is_some() {
            return Err(Error::Shape {
                what: "what is judged, among the others of its run",
                wanted: "a field".into(),
                found: "an image".into(),
            });
        }
        let judgement = self.judge_picture(step, image, self.preprocess)?;
        self.scale = None;
        Ok(judgement)
    }

    fn judge_picture(&mut self, step: i64, image: &Decoded, preprocess: Preprocess) -> Result<Judgement> {
        let pixels = Pixels::of(image, &preprocess)?;
        // A method without p-values does not look at it.
        let rate = self.false_alarm_rate.unwrap_or_default();
        let sequel = match &mut self.method {
            Method::OneStepAhead(sequence) => sequence.judge(step, pixels, rate),
            Method::Forest(sequence) => sequence.judge(step, pixels, rate),
        }?;
        let region = sequel.region.map(|region| preprocess.region_in_file(region));
        let above = sequel.verdict.score > sequel.verdict.threshold;
        self.newest = sequel.places.map(|places| Newest {
            dim: image.pixels.dim(),
            preprocess,
            scale: None,
            places,
            outlined: region.filter(|_| above),
        });
        Ok(Judgement {
            verdict: sequel.verdict,
            p_value: sequel.p_value,
            evidence: sequel.evidence,
            false_alarm_rate: self.false_alarm_rate,
            region,
            pool: Some(sequel.pool),
            forgot: sequel.forgot,
            reproducible: sequel.reproducible,
            truth: sequel.truth,
            field: None,
        })
    }

    /// Whether [`settle`](Self::settle) has nothing to do.
    pub fn is_settled(&self) -> bool {
        match &self.method {
            Method::OneStepAhead(sequence) => sequence.is_settled(),
            Method::Forest(sequence) => sequence.is_settled(),
        }
    }

    /// Does what the next judgement needs and the last one did not, as to insert an accepted image into the forest: best while the simulation
    /// computes. [`judge`](Self::judge) does it where nobody has; no verdict depends on when it is done, nor does anything that is
    /// stored.
    ///
    /// # Errors
    ///
    /// Those of a fit. Nothing is lost: the next judgement tries again.
    pub fn settle(&mut self) -> Result<()> {
        match &mut self.method {
            Method::OneStepAhead(sequence) => sequence.settle(),
            Method::Forest(sequence) => sequence.settle(),
        }
    }

    /// Draws where in the image judged last its score comes from; `None` where the judgement had no p-value (a run that warms
    /// up, the method `forest`), and if `image` has other dimensions than that one.
    ///
    /// - `image`: the one judged last; of a field, its picture.
    pub fn heat_map(&self, image: &Decoded) -> Option<HeatMap> {
        let newest = self.newest.as_ref().filter(|newest| newest.dim == image.pixels.dim())?;
        Some(HeatMap::draw(&image.pixels, &newest.preprocess, &newest.places, newest.outlined))
    }

    /// Forgets every image with a later step, as the simulation has gone back to its state right after `step`; returns how
    /// many that were. A step before the first image empties the pool.
    ///
    /// # Errors
    ///
    /// [`Error::Step`](crate::Error::Step), and nothing is changed, if the run no longer holds its state at that step.
    pub fn rewind(&mut self, step: i64) -> Result<usize> {
        self.go(Back::To(step))
    }

    /// Goes back; returns how many images were forgotten.
    pub(super) fn go(&mut self, back: Back) -> Result<usize> {
        let forgotten = match &mut self.method {
            Method::OneStepAhead(sequence) => sequence.go(back),
            Method::Forest(sequence) => sequence.go(back),
        }?;
        self.newest = None;
        Ok(forgotten)
    }

    /// How many images would be left if the run went back; an error if it cannot.
    pub(super) fn size_after(&self, back: Back) -> Result<usize> {
        match &self.method {
            Method::OneStepAhead(sequence) => sequence.size_after(back),
            Method::Forest(sequence) => sequence.size_after(back),
        }
    }

    /// Whether the image of `step` is believed normal, and its state held.
    pub(super) fn has_accepted(&self, step: i64) -> bool {
        match &self.method {
            Method::OneStepAhead(sequence) => sequence.has_accepted(step),
            Method::Forest(sequence) => sequence.has_accepted(step),
        }
    }

    /// Takes an operator's word for the image of `step`, the newest of that step; `None`, and nothing is changed, if no image
    /// of that step is remembered.
    ///
    /// - `Truth::Normal` for an image that raised an alarm: it joins those believed normal at once, if it is later than all of
    ///   them and none has joined or been forgotten since it was judged (up to four such images are held), else when it comes
    ///   back.
    /// - `Truth::Anomalous` for an accepted image: it is forgotten with all later ones, as by a rewind to the step before.
    ///
    /// In either case the same pixels at that step get that label from now on, whatever their score.
    ///
    /// # Errors
    ///
    /// [`Error::Step`](crate::Error::Step), and nothing is changed, if the run no longer holds its state before that step.
    pub fn label(&mut self, step: i64, truth: Truth) -> Result<Option<Labelled>> {
        let labelled = match &mut self.method {
            Method::OneStepAhead(sequence) => sequence.label(step, truth),
            Method::Forest(sequence) => sequence.label(step, truth),
        }?;
        self.newest = None;
        Ok(labelled)
    }

    /// Sets the p-value below which an image is anomalous, for the images to come; the method `forest` has none.
    ///
    /// - `rate`: above 0, at most 0.1.
    pub fn set_false_alarm_rate(&mut self, rate: f64) {
        if let Some(own) = &mut self.false_alarm_rate {
            *own = rate;
        }
    }

    /// The number of images believed normal.
    pub fn pool_size(&self) -> usize {
        match &self.method {
            Method::OneStepAhead(sequence) => sequence.pool().size(),
            Method::Forest(sequence) => sequence.pool().size(),
        }
    }

    /// What the run lends to others by its newest 300 judged images believed normal.
    ///
    /// # Errors
    ///
    /// - [`Error::TooFewSamples`] if there are fewer than 50;
    /// - [`Error::Parameter`] for another method than the default, which has no calibration to lend.
    pub fn prior(&self) -> Result<Prior> {
        match &self.method {
            Method::OneStepAhead(sequence) => sequence.rule().prior(sequence.pool()),
            Method::Forest(_) => Err(Error::Parameter {
                name: "online.method",
                found: "forest".into(),
                expected: "one_step_ahead, which has a calibration to lend".into(),
            }),
        }
    }

    /// The settings that the states depend on.
    pub(super) fn settings(&self) -> serde_json::Value {
        let (method, rule) = match &self.method {
            Method::OneStepAhead(sequence) => (OnlineMethod::OneStepAhead, sequence.settings()),
            Method::Forest(sequence) => (OnlineMethod::Forest, sequence.settings()),
        };
        serde_json::json!({ "method": method, "image": self.preprocess, "field": self.field, "rule": rule })
    }

    /// What is to be stored beside the states.
    pub(super) fn manifest(&self) -> StreamManifest {
        let manifest = match &self.method {
            Method::OneStepAhead(sequence) => sequence.manifest(),
            Method::Forest(sequence) => sequence.manifest(),
        };
        StreamManifest { field_scale: self.scale.as_ref().map(FieldScale::to_parts), ..manifest }
    }

    /// The state of a number, to be written.
    pub(super) fn record(&self, id: u64) -> Option<RecordDraft<'_>> {
        match &self.method {
            Method::OneStepAhead(sequence) => sequence.record(id),
            Method::Forest(sequence) => sequence.record(id),
        }
    }

    /// Goes on where a manifest was written; returns steps that could not be read, and why.
    pub(super) fn restore(
        &mut self,
        manifest: &StreamManifest,
        read: impl FnMut(u64) -> std::result::Result<Vec<u8>, String>,
    ) -> Result<Vec<(i64, String)>> {
        let damages = match &mut self.method {
            Method::OneStepAhead(sequence) => sequence.restore(manifest, read),
            Method::Forest(sequence) => sequence.restore(manifest, read),
        }?;
        self.scale = manifest.field_scale.as_deref().map(FieldScale::from_parts);
        Ok(damages)
    }

    /// The number of images known that have raised an alarm, and of those that an operator has labelled; at most 1,024 images
    /// are known, the newest.
    pub fn n_known(&self) -> (usize, usize) {
        let known = match &self.method {
            Method::OneStepAhead(sequence) => sequence.known(),
            Method::Forest(sequence) => sequence.known(),
        };
        let count = |holds: fn(&KnownImage) -> bool| known.iter().filter(|image| holds(image)).count();
        (count(|image| image.alarmed), count(|image| image.truth.is_some()))
    }

    /// The newest step judged, whether it was accepted or not; `None` before the first and after a rewind to before it.
    pub fn last_step(&self) -> Option<i64> {
        match &self.method {
            Method::OneStepAhead(sequence) => sequence.last_step(),
            Method::Forest(sequence) => sequence.last_step(),
        }
    }
}
