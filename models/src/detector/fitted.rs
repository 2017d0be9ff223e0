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
        Ok(match self {
            Self::IsolationForest(params) => FittedDetector::IsolationForest(params.fit_rows(rows, seed)?),
            Self::ExtendedForest(params) => FittedDetector::ExtendedForest(params.fit_rows(rows, seed)?),
            Self::OneClassSvm(params) => FittedDetector::OneClassSvm(params.fit_rows(rows)?),
        })
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
