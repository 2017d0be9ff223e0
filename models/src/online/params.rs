//! What can be set of an online run.

use super::forest_evidence::MIN_IMAGES;
use super::one_step_ahead::LAGS;
use super::planes::MIN_SIDE;
use super::prior::PriorFile;
use super::rows::RowFormat;
use crate::detector::IsolationForestParams;
use crate::error::{Error, Result};
use crate::extractor::{ExtractorParams, HogParams};
use crate::image::FieldParams;
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// How an image is judged by those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnlineMethod {
    /// Comparison with the images just before, judged by the run's own past.
    #[default]
    OneStepAhead,
    /// The paper's rule: every image is judged by an isolation forest on all earlier ones. It takes a run's drift for anomalies: on
    /// surrogate runs it raises false alarms on a tenth to a half of normal images with ResNet-50's features and on nearly
    /// all with HOG's.
    Forest,
}

/// What can be set of an online run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnlineParams {
    /// How images are judged.
    pub method: OnlineMethod,
    /// Seed of all random choices: of isolation forests and of projections of features.
    pub seed: u64,
    /// The number of newest accepted images after each of which the run can be gone back to, at least 1. One costs 570 kB at
    /// the paper's crop with `one_step_ahead` (319 are held at the default, 185 MB), one row of features with `forest`.
    pub max_snapshots: usize,
    /// An image at a step that has raised this many alarms is accepted even if it differs from all of them: a simulation
    /// that is not reproducible bit for bit would otherwise go back for ever. At least 1.
    pub max_alarms_at_step: usize,
    /// What fields are.
    pub field: FieldParams,
    /// Settings of the method `one_step_ahead`.
    pub one_step_ahead: OneStepAheadParams,
    /// Settings of the method `forest`.
    pub forest: ForestRuleParams,
}

impl Default for OnlineParams {
    fn default() -> Self {
        Self {
            method: OnlineMethod::default(),
            seed: 0,
            max_snapshots: 256,
            max_alarms_at_step: 3,
            field: FieldParams::default(),
            one_step_ahead: OneStepAheadParams::default(),
            forest: ForestRuleParams::default(),
        }
    }
}

/// What can be set of the method `one_step_ahead`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OneStepAheadParams {
    /// The p-value below which an image is called anomalous, in (0, 0.1]: about this fraction of normal images alarms.
    pub false_alarm_rate: f64,
    /// Images are halved until no more pixels are left, at least 64. Time and memory are proportional to it.
    pub max_pixels: usize,
    /// How far at most, in pixels after the halvings and in each direction, things may move from image to image, 0 to 16. Within this,
    /// the window in which they are looked for follows the motion seen in the run.
    pub max_shift: usize,
    /// How many output intervals old the newest accepted image may be for a verdict, 1 to 8. Beyond, the image is accepted
    /// unjudged and the run warms up for four images.
    pub max_lag: u64,
    /// The artefact of an earlier run (`anomalyd replay --save-prior`) that lends its calibration: verdicts then come from the sixth image
    /// on, for runs whose images have its shape after preprocessing. Empty: none, and they come from the sixteenth on.
    pub prior: PriorFile,
    /// Evidence from features, beside that from pixels.
    pub features: FeatureParams,
}

impl Default for OneStepAheadParams {
    fn default() -> Self {
        Self {
            false_alarm_rate: 1e-3,
            max_pixels: 160_000,
            max_shift: 16,
            max_lag: 8,
            prior: PriorFile::default(),
            features: FeatureParams::default(),
        }
    }
}

/// What can be set of the evidence from features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeatureParams {
    /// Whether there is any; without it an image is judged by its pixels alone.
    pub enabled: bool,
    /// What turns the compared image, after its halvings, into features. An image held costs 4 bytes a feature.
    pub extractor: ExtractorParams,
    /// The newest images that the isolation forest on whole images is fitted on, 8 to 1,000.
    pub forest_images: usize,
    /// Trees of that forest and of the one on places, 1 to 10,000.
    pub n_trees: usize,
}

impl Default for FeatureParams {
    fn default() -> Self {
        let hog = HogParams { cells: 40, orientations: 8, block: 1 };
        Self { enabled: true, extractor: ExtractorParams::Hog(hog), forest_images: 64, n_trees: 125 }
    }
}

/// What can be set of the method `forest`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForestRuleParams {
    /// What turns an image into features.
    pub extractor: ExtractorParams,
    /// The forest; by default 500 trees, each on all images: the paper has 125, whose scores differ between seeds by twice as much. A table that
    /// sets other fields sets `n_trees` too, else it is the forest's own default.
    pub forest: IsolationForestParams,
    /// Whether the forest is kept, and each accepted image inserted into it: at any time it is distributed as a new one, for a cost that grows as
    /// the logarithm of the images. If not, each image has a new forest, as in the paper, at a cost that grows as the images do; and so it has
    /// where `sample_size` is less than `max_images`.
    pub incremental: bool,
    /// Whether the ranks of a daemon within an MPI job keep a part of the trees each, as they share extraction in any case. Each is sent each image's features and
    /// holds all of them, which pays where trees are thousands; scores are the same, bit for bit. Where there are no such ranks it changes nothing.
    pub share_trees: bool,
    /// How the features of the images that the forest is on are kept. bf16 takes half the memory, and little changes: see `models/README.md`.
    pub rows: RowFormat,
    /// Images accepted unjudged, at least 2. The paper distrusts its verdicts before about 300; they are given from 20 on,
    /// so that a run can be watched from its start by someone who knows that.
    pub warm_up: usize,
    /// An image is anomalous if its score, in (0, 1), is higher. 0.5, the paper's (by scikit-learn's default
    /// `contamination`), is what a sample has whose path is as long as the average one.
    pub threshold: f64,
    /// The newest images that the forest is fitted on, at least `warm_up`; when there are more, the oldest eighth is left out at a time.
    /// Memory: a row of features each, and of `max_snapshots` more, 4 bytes a feature, or 2.
    pub max_images: usize,
}

impl Default for ForestRuleParams {
    fn default() -> Self {
        Self {
            extractor: ExtractorParams::default(),
            forest: IsolationForestParams { n_trees: 500, sample_size: None, max_depth: None },
            incremental: true,
            share_trees: false,
            rows: RowFormat::F32,
            warm_up: 20,
            threshold: 0.5,
            max_images: 2000,
        }
    }
}

impl OnlineParams {
    /// Checks every setting against its range.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] with the name of the first that lies outside.
    pub fn check(&self) -> Result<()> {
        let (ahead, forest) = (&self.one_step_ahead, &self.forest);
        check("max_snapshots", self.max_snapshots, self.max_snapshots >= 1, "at least 1")?;
        check("max_alarms_at_step", self.max_alarms_at_step, self.max_alarms_at_step >= 1, "at least 1")?;
        self.field.check()?;
        let rate = ahead.false_alarm_rate;
        check("one_step_ahead.false_alarm_rate", rate, rate > 0.0 && rate <= 0.1, "above 0 and at most 0.1")?;
        let least = MIN_SIDE * MIN_SIDE;
        check("one_step_ahead.max_pixels", ahead.max_pixels, ahead.max_pixels >= least, "at least 64")?;
        check("one_step_ahead.max_shift", ahead.max_shift, ahead.max_shift <= 16, "0 to 16 pixels")?;
        check(
            "one_step_ahead.max_lag",
            ahead.max_lag,
            (1..=LAGS[LAGS.len() - 1]).contains(&ahead.max_lag),
            "1 to 8 intervals",
        )?;
        let features = &ahead.features;
        let (n_images, n_trees) = (features.forest_images, features.n_trees);
        check(
            "one_step_ahead.features.forest_images",
            n_images,
            (MIN_IMAGES..=1000).contains(&n_images),
            "8 to 1000 images",
        )?;
        check("one_step_ahead.features.n_trees", n_trees, (1..=10_000).contains(&n_trees), "1 to 10000")?;
        check("forest.warm_up", forest.warm_up, forest.warm_up >= 2, "at least 2")?;
        check(
            "forest.threshold",
            forest.threshold,
            forest.threshold > 0.0 && forest.threshold < 1.0,
            "between 0 and 1",
        )?;
        check(
            "forest.max_images",
            forest.max_images,
            forest.max_images >= forest.warm_up,
            "at least warm_up",
        )?;
        forest.forest.check()
    }
}

fn check(name: &'static str, found: impl Display + Copy, holds: bool, expected: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::Parameter { name, found: found.to_string(), expected: expected.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_gives_the_defaults_and_they_are_within_their_ranges() {
        let params: OnlineParams = serde_json::from_str("{}").unwrap();
        assert_eq!(params, OnlineParams::default());
        params.check().unwrap();
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        for text in
            [r#"{"metod": "forest"}"#, r#"{"one_step_ahead": {"alpha": 0.1}}"#, r#"{"forest": {"trees": 1}}"#]
        {
            let error = serde_json::from_str::<OnlineParams>(text).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn a_setting_outside_its_range_is_refused_by_name() {
        let ahead = |change: fn(&mut OneStepAheadParams)| {
            let mut params = OnlineParams::default();
            change(&mut params.one_step_ahead);
            params.check().unwrap_err().to_string()
        };
        assert!(ahead(|p| p.false_alarm_rate = 0.0).starts_with("one_step_ahead.false_alarm_rate is 0"));
        assert!(ahead(|p| p.false_alarm_rate = f64::NAN).contains("false_alarm_rate"));
        assert!(ahead(|p| p.max_shift = 17).contains("0 to 16"));
        assert!(OnlineParams { max_snapshots: 0, ..OnlineParams::default() }.check().is_err());
    }
}
