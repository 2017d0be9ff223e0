//! From scores to verdicts: thresholds learnt from the scores of normal images.

use crate::verdict::Verdict;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The score above which an image is called anomalous.
///
/// A threshold belongs to one fitted detector and is stored beside it: the scores of two detectors are on different
/// scales and are never compared.
///
/// # Examples
///
/// ```
/// use anomalyd_models::Label;
/// use anomalyd_models::calibration::Threshold;
///
/// let scores: Vec<f32> = (0..100).map(|i| i as f32 / 100.0).collect();
/// let threshold = Threshold::calibrate(&scores, 0.05)?;
/// assert_eq!(threshold.value(), 0.94);
/// assert_eq!(threshold.judge(0.95).label, Label::Anomalous);
/// # Ok::<(), anomalyd_models::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    value: f32,
    false_alarm_rate: Option<f64>,
    /// Ascending; empty where the threshold was not calibrated on held-out scores.
    scores: Vec<f32>,
}

/// How a threshold is found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum CalibrationParams {
    /// By the scores of normal images that were kept out of the fit.
    HeldOut {
        /// Of so many images, the last is kept out of the fit and used for the threshold; at least 2.
        every: usize,
        /// The fraction of normal images that may raise a false alarm, in (0, 0.5]. Smaller fractions need more images: at
        /// least `1 / false_alarm_rate` held out.
        false_alarm_rate: f64,
    },
    /// By the scores of the images of the fit itself, as scikit-learn does. Optimistic: the detector has seen them.
    Contamination {
        /// The fraction of the images of the fit that is called anomalous, in (0, 0.5].
        contamination: f64,
    },
    /// The given score, whatever the data; 0.5 is the isolation forest paper's and scikit-learn's `contamination="auto"`.
    Fixed {
        /// The threshold, finite.
        value: f32,
    },
}

impl Default for CalibrationParams {
    fn default() -> Self {
        Self::HeldOut { every: 5, false_alarm_rate: 0.01 }
    }
}

impl CalibrationParams {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] names the first that is outside.
    pub fn check(&self) -> Result<()> {
        match *self {
            Self::HeldOut { every, .. } if every < 2 => Err(Error::Parameter {
                name: "every",
                found: every.to_string(),
                expected: "at least 2: some images must remain to fit on".into(),
            }),
            Self::HeldOut { false_alarm_rate, .. } => check_fraction("false_alarm_rate", false_alarm_rate),
            Self::Contamination { contamination } => check_fraction("contamination", contamination),
            Self::Fixed { value } if !value.is_finite() => {
                Err(Error::Parameter { name: "value", found: value.to_string(), expected: "finite".into() })
            }
            Self::Fixed { .. } => Ok(()),
        }
    }

    /// Whether image `image_idx` is kept out of the fit.
    pub fn holds_out(&self, image_idx: usize) -> bool {
        matches!(*self, Self::HeldOut { every, .. } if image_idx % every == every - 1)
    }
}

fn check_fraction(name: &'static str, fraction: f64) -> Result<()> {
    if fraction > 0.0 && fraction <= 0.5 {
        return Ok(());
    }
    Err(Error::Parameter {
        name,
        found: fraction.to_string(),
        expected: "more than 0 and at most 0.5".into(),
    })
}

fn sorted_finite(scores: &[f32]) -> Result<Vec<f32>> {
    if let Some(index) = crate::finite::first_not_finite(scores) {
        return Err(Error::NotFinite { what: "scores to calibrate a threshold on", index });
    }
    let mut scores = scores.to_vec();
    scores.sort_unstable_by(f32::total_cmp);
    Ok(scores)
}

impl Threshold {
    /// Calibrates a threshold on the scores of normal images.
    ///
    /// The threshold is the empirical quantile of `scores` at `1 - false_alarm_rate`, so about that fraction of equally
    /// normal images will raise a false alarm. The images must not have been used for fitting.
    ///
    /// - `scores`: `[n]`, dimensionless, in any order.
    /// - `false_alarm_rate`: a fraction in (0, 0.5].
    ///
    /// # Errors
    ///
    /// - [`Error::TooFewSamples`] if `n < 1 / false_alarm_rate`: the quantile would then be the maximum, whatever the data.
    /// - [`Error::NotFinite`] if a score is NaN or infinite.
    /// - [`Error::Parameter`] if the rate is outside its range.
    pub fn calibrate(scores: &[f32], false_alarm_rate: f64) -> Result<Self> {
        check_fraction("false_alarm_rate", false_alarm_rate)?;
        let scores = sorted_finite(scores)?;
        // The product of n and its reciprocal may fall short of 1 by rounding.
        let n_above = (scores.len() as f64 * false_alarm_rate * (1.0 + 1e-12)).floor() as usize;
        if n_above == 0 {
            return Err(Error::TooFewSamples {
                what: "calibration of a threshold for this false_alarm_rate",
                wanted: (1.0 / false_alarm_rate * (1.0 - 1e-12)).ceil() as usize,
                found: scores.len(),
            });
        }
        let value = scores[scores.len() - 1 - n_above];
        Ok(Self { value, false_alarm_rate: Some(false_alarm_rate), scores })
    }

    /// The score that the fraction `contamination` of the scores of the fit exceeds, by linear interpolation, as
    /// scikit-learn's `offset_` with the sign changed.
    ///
    /// # Errors
    ///
    /// [`Error::TooFewSamples`] without a score; [`Error::NotFinite`] and [`Error::Parameter`] as in
    /// [`calibrate`](Self::calibrate).
    pub fn from_contamination(scores: &[f32], contamination: f64) -> Result<Self> {
        check_fraction("contamination", contamination)?;
        let scores = sorted_finite(scores)?;
        let Some(last) = scores.len().checked_sub(1) else {
            return Err(Error::TooFewSamples { what: "threshold by contamination", wanted: 1, found: 0 });
        };
        let position = (1.0 - contamination) * last as f64;
        let (below, above) = (position.floor() as usize, position.ceil() as usize);
        let (low, high) = (f64::from(scores[below]), f64::from(scores[above]));
        let value = (low + (high - low) * (position - below as f64)) as f32;
        Ok(Self { value, false_alarm_rate: None, scores: Vec::new() })
    }

    /// A threshold that is given, not learnt.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] if it is not finite.
    pub fn fixed(value: f32) -> Result<Self> {
        CalibrationParams::Fixed { value }.check()?;
        Ok(Self { value, false_alarm_rate: None, scores: Vec::new() })
    }

    /// A threshold from what [`value`](Self::value), [`false_alarm_rate`](Self::false_alarm_rate) and
    /// [`scores`](Self::scores) gave.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] if they contradict each other.
    pub fn from_parts(value: f32, false_alarm_rate: Option<f64>, scores: &[f32]) -> Result<Self> {
        let threshold = match false_alarm_rate {
            Some(rate) => Self::calibrate(scores, rate)?,
            None => Self::fixed(value)?,
        };
        if threshold.value != value || threshold.scores != scores {
            let expected = format!("{}, as the calibration scores say", threshold.value);
            return Err(Error::Parameter { name: "threshold", found: value.to_string(), expected });
        }
        Ok(threshold)
    }

    /// The highest score that is still normal, dimensionless.
    pub fn value(&self) -> f32 {
        self.value
    }

    /// The fraction of normal images expected above it; `None` where it was not calibrated on images kept out of the fit.
    pub fn false_alarm_rate(&self) -> Option<f64> {
        self.false_alarm_rate
    }

    /// The scores it was calibrated on, ascending; empty without a false-alarm rate.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// The verdict on a score; one that is not finite is anomalous.
    pub fn judge(&self, score: f32) -> Verdict {
        Verdict::by_threshold(f64::from(score), f64::from(self.value))
    }

    /// The conformal p-value of a score: the probability of one at least as high if the image is as normal as those of
    /// the calibration, `(1 + #{scores >= score}) / (1 + n)`, in (0, 1]; `None` without calibration scores.
    ///
    /// Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005.
    pub fn p_value(&self, score: f32) -> Option<f64> {
        if self.scores.is_empty() {
            return None;
        }
        // NaN counts as the highest of all.
        let n_below =
            if score.is_nan() { self.scores.len() } else { self.scores.partition_point(|s| *s < score) };
        Some((1 + self.scores.len() - n_below) as f64 / (1 + self.scores.len()) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::verdict::Label;

    #[test]
    fn stated_fraction_of_the_calibration_scores_lies_above() {
        for (n, rate, n_above) in
            [(100, 0.01, 1), (120, 0.01, 1), (200, 0.05, 10), (3, 0.5, 1), (10, 0.1, 1), (49, 1.0 / 49.0, 1)]
        {
            let scores: Vec<f32> = (0..n).rev().map(|i| i as f32).collect();
            let threshold = Threshold::calibrate(&scores, rate).expect("calibrates");
            let above = scores.iter().filter(|&&s| threshold.judge(s).label == Label::Anomalous).count();
            assert_eq!(above, n_above, "{n} {rate}");
        }
    }

    #[test]
    fn false_alarms_on_new_scores_come_at_about_the_stated_rate() {
        let mut rng = Rng::new(1);
        let mut n_alarms = 0;
        for _ in 0..200 {
            let scores: Vec<f32> = (0..200).map(|_| rng.normal() as f32).collect();
            let threshold = Threshold::calibrate(&scores, 0.05).expect("calibrates");
            n_alarms +=
                (0..100).filter(|_| threshold.judge(rng.normal() as f32).label == Label::Anomalous).count();
        }
        // Expected (10 + 1) / (200 + 1) = 5.5 % of 20,000; the standard error is about 0.2 %.
        let rate = n_alarms as f64 / 20_000.0;
        assert!((0.045..0.065).contains(&rate), "{rate}");
    }

    #[test]
    fn too_few_or_bad_scores_are_refused() {
        let error = Threshold::calibrate(&[0.5; 99], 0.01).expect_err("refused").to_string();
        assert!(error.contains("99 samples, at least 100 are needed"), "{error}");
        assert!(matches!(
            Threshold::calibrate(&[0.1, f32::NAN], 0.5),
            Err(Error::NotFinite { index: 1, .. })
        ));
        for rate in [0.0, -0.1, 0.51, f64::NAN] {
            assert!(matches!(Threshold::calibrate(&[0.1; 10], rate), Err(Error::Parameter { .. })));
            assert!(Threshold::from_contamination(&[0.1; 10], rate).is_err());
            assert!(CalibrationParams::HeldOut { every: 5, false_alarm_rate: rate }.check().is_err());
        }
        assert!(Threshold::from_contamination(&[], 0.1).is_err());
        assert!(Threshold::fixed(f32::INFINITY).is_err());
        assert!(CalibrationParams::HeldOut { every: 1, false_alarm_rate: 0.1 }.check().is_err());
    }

    #[test]
    fn contamination_interpolates_as_scikit_learn_does() {
        // numpy.percentile([1, 2, 3, 4, 10], 90) = 7.6
        let threshold = Threshold::from_contamination(&[10.0, 1.0, 3.0, 2.0, 4.0], 0.1).expect("fits");
        assert!((threshold.value() - 7.6).abs() < 1e-6);
        assert_eq!(threshold.p_value(1.0), None);
    }

    #[test]
    fn p_value_counts_scores_at_least_as_high() {
        let threshold = Threshold::calibrate(&[1.0, 2.0, 3.0], 0.5).expect("calibrates");
        assert_eq!(threshold.p_value(0.0), Some(1.0));
        assert_eq!(threshold.p_value(3.0), Some(0.5));
        assert_eq!(threshold.p_value(3.5), Some(0.25));
        assert_eq!(threshold.p_value(f32::INFINITY), Some(0.25));
        assert_eq!(threshold.p_value(f32::NAN), Some(0.25));
        assert_eq!(threshold.judge(f32::NAN).label, Label::Anomalous);
    }

    #[test]
    fn parts_that_contradict_each_other_are_refused() {
        let threshold = Threshold::calibrate(&[1.0, 2.0, 3.0], 0.5).expect("calibrates");
        let again = Threshold::from_parts(2.0, Some(0.5), &[1.0, 2.0, 3.0]).expect("sound");
        assert_eq!(again, threshold);
        assert!(Threshold::from_parts(3.0, Some(0.5), &[1.0, 2.0, 3.0]).is_err());
        assert!(Threshold::from_parts(2.0, Some(0.5), &[3.0, 2.0, 1.0]).is_err());
        assert!(Threshold::from_parts(2.0, None, &[1.0]).is_err());
    }

    #[test]
    fn every_fifth_image_is_held_out() {
        let params = CalibrationParams::default();
        assert_eq!((0..12).filter(|&i| params.holds_out(i)).collect::<Vec<_>>(), [4, 9]);
        assert!(!CalibrationParams::Fixed { value: 0.5 }.holds_out(4));
    }
}
