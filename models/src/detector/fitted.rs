//! The detectors that a pipeline can have.

use super::{
    ExtendedForest, ExtendedForestParams, IsolationForest, IsolationForestParams, OneClassSvm,
    OneClassSvmParams,
};
use crate::Result;
use crate::traits::Detector;
use ndarray::{Array1, ArrayView2};
use serde::{Deserialize, Serialize};

/// Which detector, with its parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum DetectorParams {
    /// Isolation forest, the default.
    IsolationForest(IsolationForestParams),
    /// Isolation forest whose splits look at several columns.
    ExtendedForest(ExtendedForestParams),
    /// One-class support vector machine.
    OneClassSvm(OneClassSvmParams),
}

impl Default for DetectorParams {
    fn default() -> Self {
        Self::IsolationForest(IsolationForestParams::default())
    }
}

impl DetectorParams {
    /// Checks the ranges that do not depend on the samples.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`](crate::Error::Parameter) names the first that is outside.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::IsolationForest(params) => params.check(),
            Self::ExtendedForest(params) => params.check(),
            Self::OneClassSvm(params) => params.check(),
        }
    }

    /// Its name: `isolation_forest`, `extended_forest` or `one_class_svm`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::IsolationForest(_) => "isolation_forest",
            Self::ExtendedForest(_) => "extended_forest",
            Self::OneClassSvm(_) => "one_class_svm",
        }
    }

    /// Fits on rows that lie apart in memory; equal rows and an equal seed give an equal detector, bit for bit, for any number of
    /// threads.
    ///
    /// # Errors
    ///
    /// As each detector's own `fit_rows`.
    pub fn fit_rows(&self, rows: &[&[f32]], seed: u64) -> Result<FittedDetector> {
        self.fit_weighted(rows, None, seed)
    }

    /// As [`fit_rows`](Self::fit_rows), by `weights` where there are some; the support vector machine has no use for them.
    pub(crate) fn fit_weighted(
        &self,
        rows: &[&[f32]],
        weights: Option<&[f64]>,
        seed: u64,
    ) -> Result<FittedDetector> {
        Ok(match (self, weights) {
            (Self::IsolationForest(params), None) => {
                FittedDetector::IsolationForest(params.fit_rows(rows, seed)?)
            }
            (Self::IsolationForest(params), Some(weights)) => {
                FittedDetector::IsolationForest(params.fit_weighted(rows, weights, seed)?)
            }
            (Self::ExtendedForest(params), None) => {
                FittedDetector::ExtendedForest(params.fit_rows(rows, seed)?)
            }
            (Self::ExtendedForest(params), Some(weights)) => {
                FittedDetector::ExtendedForest(params.fit_weighted(rows, weights, seed)?)
            }
            (Self::OneClassSvm(params), _) => FittedDetector::OneClassSvm(params.fit_rows(rows)?),
        })
    }

    /// Images drawn for each tree, where a forest does not take all.
    pub(crate) fn sample_size(&self) -> Option<usize> {
        match self {
            Self::IsolationForest(params) => params.sample_size,
            Self::ExtendedForest(params) => params.sample_size,
            Self::OneClassSvm(_) => None,
        }
    }
}

/// A fitted detector.
#[derive(Debug, Clone, PartialEq)]
pub enum FittedDetector {
    /// Isolation forest.
    IsolationForest(IsolationForest),
    /// Extended isolation forest.
    ExtendedForest(ExtendedForest),
    /// One-class support vector machine.
    OneClassSvm(OneClassSvm),
}

impl FittedDetector {
    /// The score of one image's features, higher is more anomalous; infinite if a feature is not finite.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if `row` has another length than the samples of the fit.
    pub fn score_row(&self, row: &[f32]) -> Result<f32> {
        match self {
            Self::IsolationForest(forest) => forest.score_row(row),
            Self::ExtendedForest(forest) => forest.score_row(row),
            Self::OneClassSvm(svm) => svm.score_row(row),
        }
    }

    /// The score of features that are known to be finite or not: a forest then reads no more of a million than its trees look at.
    pub(crate) fn score_known(&self, row: &[f32], is_finite: bool) -> Result<f32> {
        match self {
            _ if row.len() != self.n_features() => self.score_row(row),
            _ if !is_finite => Ok(f32::INFINITY),
            Self::IsolationForest(forest) => Ok(forest.score_finite(row)),
            Self::ExtendedForest(_) | Self::OneClassSvm(_) => self.score_row(row),
        }
    }
}

impl Detector for FittedDetector {
    fn n_features(&self) -> usize {
        match self {
            Self::IsolationForest(forest) => forest.n_features(),
            Self::ExtendedForest(forest) => forest.n_features(),
            Self::OneClassSvm(svm) => svm.n_features(),
        }
    }

    fn score(&self, features: ArrayView2<'_, f32>) -> Result<Array1<f32>> {
        match self {
            Self::IsolationForest(forest) => forest.score(features),
            Self::ExtendedForest(forest) => forest.score(features),
            Self::OneClassSvm(svm) => svm.score(features),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn features_known_to_be_finite_or_not_score_as_those_that_are_checked() {
        let mut rng = Rng::new(9);
        let matrix: Vec<Vec<f32>> = (0..20).map(|_| (0..5).map(|_| rng.normal() as f32).collect()).collect();
        let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
        let n_trees = 20;
        for params in [
            DetectorParams::IsolationForest(IsolationForestParams { n_trees, ..Default::default() }),
            DetectorParams::ExtendedForest(ExtendedForestParams { n_trees, ..Default::default() }),
            DetectorParams::OneClassSvm(OneClassSvmParams::default()),
        ] {
            let detector = params.fit_rows(&rows, 1).expect("fits");
            let checked = detector.score_row(rows[3]).expect("scores");
            assert_eq!(detector.score_known(rows[3], true).expect("scores"), checked);
            assert_eq!(detector.score_known(&[f32::NAN; 5], false).expect("scores"), f32::INFINITY);
            assert_eq!(detector.score_row(&[f32::NAN; 5]).expect("scores"), f32::INFINITY);
            for is_finite in [true, false] {
                assert!(detector.score_known(&[0.0; 4], is_finite).is_err(), "four values, not five");
            }
        }
    }
}
