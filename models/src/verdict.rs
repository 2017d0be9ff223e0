//! What is said of one image.

use crate::online::Truth;
use serde::{Deserialize, Serialize};

/// Whether an image is normal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// The score does not exceed the threshold.
    Normal,
    /// The score exceeds the threshold, or the image holds values that are not finite.
    Anomalous,
    /// No verdict can be given yet: the model is too young.
    Unknown,
}

/// A label with the numbers it follows from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The label.
    pub label: Label,
    /// Dimensionless, higher is more anomalous; NaN where there is none yet.
    pub score: f64,
    /// The label is anomalous if `score > threshold`; NaN where there is none yet.
    pub threshold: f64,
}

impl Verdict {
    /// Judges `score` by `threshold`: anomalous if it is higher, or if it is not a number.
    pub fn by_threshold(score: f64, threshold: f64) -> Self {
        let label = if score <= threshold { Label::Normal } else { Label::Anomalous };
        Self { label, score, threshold }
    }

    /// The verdict of a model that is too young to judge.
    pub fn unknown() -> Self {
        Self { label: Label::Unknown, score: f64::NAN, threshold: f64::NAN }
    }
}

/// What a run's pool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolState {
    /// Images in the pool after this one was judged.
    pub size: usize,
    /// Images to come until verdicts are given; 0 when they are.
    pub needed: usize,
}

/// What one kind of evidence says of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// What is looked at: `colour`, `block`, `lags`, `features`, `forest`, `patch_forest`; `late` and `late_block` where images
    /// before are missing.
    pub kind: &'static str,
    /// The probability of this much evidence if the image is normal, in (0, 1].
    pub p_value: f64,
    /// The kind's share of the false-alarm rate, in (0, 1]; the shares of an image's kinds add up to 1, and the image's p-value is the
    /// least of p-value over share.
    pub share: f64,
}

impl Evidence {
    /// p-value over share: the image's p-value if this kind decides.
    pub fn weighted(&self) -> f64 {
        self.p_value / self.share
    }
}

/// A verdict with everything that is known about how it came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The probability of a score at least this high if the image is normal, in [0, 1]; `None` where the method has none.
    pub p_value: Option<f64>,
    /// The kinds of evidence that the p-value is made of; empty where there is none.
    pub evidence: Vec<Evidence>,
    /// The p-value below which an image is called anomalous.
    pub false_alarm_rate: Option<f64>,
    /// `[row0, column0, row1, column1]`, inclusive, in the pixels of the image as decoded: where the score comes from.
    pub region: Option<[usize; 4]>,
    /// The run's pool; `None` for a stateless judgement.
    pub pool: Option<PoolState>,
    /// Images that an implied rewind has made the run forget before this one was judged.
    pub forgot: usize,
    /// The image had raised an alarm before a rewind and came back the same: accepted, not a transient fault.
    pub reproducible: bool,
    /// What an operator has said of this very image: the label follows it and not the score.
    pub truth: Option<Truth>,
    /// What is said of a raw field; `None` for an image.
    pub field: Option<FieldFacts>,
}

/// What is said of a raw field beside its verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FieldFacts {
    /// Values that are NaN or infinite; if there are any, the field is anomalous at once and never believed normal.
    pub n_not_finite: usize,
    /// The variable, counted from 0, that the region lies in, if there is one.
    pub variable: Option<usize>,
    /// The fraction of values beyond the range that the run's scale is made for: there it is less sensitive.
    pub share_beyond: f64,
}

impl Judgement {
    /// The evidence that the p-value comes from; `None` where there is none.
    pub fn decisive(&self) -> Option<&Evidence> {
        self.evidence.iter().min_by(|a, b| a.weighted().total_cmp(&b.weighted()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_at_the_threshold_is_normal_and_above_it_anomalous() {
        assert_eq!(Verdict::by_threshold(0.5, 0.5).label, Label::Normal);
        assert_eq!(Verdict::by_threshold(0.5 + 1e-12, 0.5).label, Label::Anomalous);
    }

    #[test]
    fn nan_is_anomalous() {
        assert_eq!(Verdict::by_threshold(f64::NAN, 0.5).label, Label::Anomalous);
    }
}
