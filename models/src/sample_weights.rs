//! How likely each image of a fit is drawn for a tree of a forest.

use crate::detector::DetectorParams;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How likely the images of a fit are drawn for a tree; for forests with a `sample_size`, since a tree of all images has nothing to
/// draw. One image is drawn after the other, in proportion to the weights of those left.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum SampleWeights {
    /// All alike.
    #[default]
    Equal,
    /// The newer, the likelier: what a run looked like long ago says less of what is normal now.
    HalfLife {
        /// An image that comes so many before another has half of its weight; above 0.
        n_images: f64,
    },
    /// As given.
    Listed {
        /// One for each image given to the fit, those held out included; finite, at least 0. Only ratios matter.
        weights: Vec<f64>,
    },
}

impl SampleWeights {
    /// Whether all images are alike.
    pub(crate) fn is_equal(&self) -> bool {
        *self == Self::Equal
    }

    /// Checks what does not depend on the images.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] for a half-life out of its range, and for a detector that draws no images.
    pub(crate) fn check(&self, detector: &DetectorParams) -> Result<()> {
        let refuse = |found: String, expected: &str| {
            Err(Error::Parameter { name: "sample_weights", found, expected: expected.into() })
        };
        match *self {
            Self::Equal => Ok(()),
            _ if matches!(detector, DetectorParams::OneClassSvm(_)) => {
                refuse("given".into(), "none: a one-class support vector machine draws no images")
            }
            _ if detector.sample_size().is_none() => refuse(
                "given alone".into(),
                "together with sample_size: a tree of all images has nothing to draw",
            ),
            Self::HalfLife { n_images } if !(n_images > 0.0 && n_images.is_finite()) => {
                refuse(format!("a half-life of {n_images} images"), "above 0")
            }
            _ => Ok(()),
        }
    }

    /// Checks what depends on the number of images alone: those given, and those of them that are fitted.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] for another number of weights, and where every tree would have all images.
    pub(crate) fn check_counts(
        &self,
        detector: &DetectorParams,
        n_images: usize,
        n_fitted: usize,
    ) -> Result<()> {
        if let Self::Listed { weights } = self
            && weights.len() != n_images
        {
            return Err(Error::Parameter {
                name: "sample_weights",
                found: format!("{} numbers", weights.len()),
                expected: format!("{n_images}, one for each image given"),
            });
        }
        match detector.sample_size() {
            Some(n) if !self.is_equal() && n >= n_fitted => Err(Error::Parameter {
                name: "sample_size",
                found: n.to_string(),
                expected: format!("fewer than the {n_fitted} images fitted, or weights choose nothing"),
            }),
            _ => Ok(()),
        }
    }

    /// The weight of each of `n_images`; `None` if they are alike.
    pub(crate) fn of_images(&self, n_images: usize) -> Option<Vec<f64>> {
        match self {
            Self::Equal => None,
            Self::HalfLife { n_images: half_life } => {
                Some((0..n_images).rev().map(|age| (-(age as f64) / half_life).exp2()).collect())
            }
            Self::Listed { weights } => Some(weights.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::CalibrationParams;
    use crate::detector::{ExtendedForestParams, IsolationForestParams, OneClassSvmParams};
    use crate::extractor::{DeviceChoice, WeightsStore};
    use crate::pipeline::tests::{fit, params, picture};
    use crate::pipeline::{Pipeline, PipelineParams};

    fn forest(sample_size: Option<usize>) -> DetectorParams {
        DetectorParams::IsolationForest(IsolationForestParams { n_trees: 200, sample_size, max_depth: None })
    }

    #[test]
    fn half_lives_halve_and_the_newest_image_has_weight_1() {
        let weights = SampleWeights::HalfLife { n_images: 2.0 }.of_images(5).expect("weights");
        assert_eq!(weights, [0.25, 0.125f64.sqrt(), 0.5, 0.5f64.sqrt(), 1.0]);
        assert_eq!(SampleWeights::Equal.of_images(5), None);
    }

    /// 30 images with a bar, then 30 without.
    fn fit_change(sample_weights: SampleWeights, detector: DetectorParams) -> Pipeline {
        let images = (0..60).map(|i| Ok(picture(i, (i < 30).then_some(30))));
        // Every fifth is held out, so that weights must follow their images.
        let calibration = CalibrationParams::HeldOut { every: 5, false_alarm_rate: 0.1 };
        let params = PipelineParams { sample_weights, detector, calibration, ..params() };
        Pipeline::fit(&params, images, &WeightsStore::default(), &DeviceChoice::Cpu, &mut |_| ())
            .expect("fits")
    }

    #[test]
    fn images_of_little_weight_are_unlike_those_that_a_forest_is_grown_on() {
        let listed =
            SampleWeights::Listed { weights: (0..60).map(|i| if i < 30 { 0.0 } else { 1.0 }).collect() };
        let extended = DetectorParams::ExtendedForest(ExtendedForestParams {
            n_trees: 200,
            sample_size: Some(16),
            ..Default::default()
        });
        for (weights, detector) in [
            (listed.clone(), forest(Some(16))),
            (SampleWeights::HalfLife { n_images: 4.0 }, forest(Some(16))),
            (listed, extended),
        ] {
            let pipeline = fit_change(weights.clone(), detector.clone());
            let excess = |pipeline: &Pipeline| {
                let mean = |bar| {
                    (100..110).map(|seed| pipeline.score(&picture(seed, bar)).expect("scores")).sum::<f32>()
                        / 10.0
                };
                mean(Some(30)) - mean(None)
            };
            let (weighted, equal) = (excess(&pipeline), excess(&fit_change(SampleWeights::Equal, detector)));
            assert!(weighted > equal + 0.05, "{weights:?}: {weighted} {equal}");
        }
    }

    #[test]
    fn weights_without_an_effect_or_for_other_images_are_refused() {
        let with = |sample_weights: &SampleWeights, detector| {
            let params = PipelineParams { sample_weights: sample_weights.clone(), detector, ..params() };
            fit(&params, 40).expect_err("refused").to_string()
        };
        let half_life = SampleWeights::HalfLife { n_images: 10.0 };
        assert!(with(&half_life, forest(None)).contains("together with sample_size"));
        let svm = DetectorParams::OneClassSvm(OneClassSvmParams::default());
        assert!(with(&half_life, svm).contains("draws no images"));
        assert!(with(&half_life, forest(Some(30))).contains("fewer than the 30 images fitted"));
        assert!(
            with(&SampleWeights::HalfLife { n_images: -1.0 }, forest(Some(8)))
                .contains("a half-life of -1 images")
        );
        let listed = |weights| SampleWeights::Listed { weights };
        assert!(
            with(&listed(vec![1.0; 39]), forest(Some(8)))
                .contains("39 numbers, expected 40, one for each image given")
        );
        assert!(with(&listed(vec![f64::NAN; 40]), forest(Some(8))).contains("NaN"));
    }

    #[test]
    fn equal_weights_are_not_written_and_others_are_read_as_written() {
        assert!(!toml::to_string(&params()).expect("writes").contains("sample_weights"));
        for sample_weights in
            [SampleWeights::HalfLife { n_images: 50.0 }, SampleWeights::Listed { weights: vec![0.5, 2.0] }]
        {
            let params = PipelineParams { sample_weights, detector: forest(Some(9)), ..params() };
            let written = toml::to_string(&params).expect("writes");
            assert_eq!(toml::from_str::<PipelineParams>(&written).expect("reads"), params);
        }
    }
}
