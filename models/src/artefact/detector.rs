//! The arrays of each kind of detector.

use super::arrays::{Array, Loaded, Values};
use super::error::ArtefactError;
use super::manifest::Manifest;
use crate::detector::isolation_forest::{ExtendedForestArrays, ForestArrays};
use crate::detector::one_class_svm::{Kernel, KernelKind};
use crate::detector::{DetectorParams, ExtendedForest, FittedDetector, IsolationForest, OneClassSvm};
use std::path::Path;

/// Rows that each tree was grown on; `None` without trees.
pub(super) fn sample_size(detector: &FittedDetector) -> Option<usize> {
    match detector {
        FittedDetector::IsolationForest(forest) => Some(forest.sample_size()),
        FittedDetector::ExtendedForest(forest) => Some(forest.sample_size()),
        FittedDetector::OneClassSvm(_) => None,
    }
}

pub(super) fn arrays_of(detector: &FittedDetector) -> Vec<Array<'_>> {
    match detector {
        FittedDetector::IsolationForest(forest) => {
            let arrays = forest.to_arrays();
            vec![
                Array::flat("forest.tree_starts", Values::U32(arrays.tree_starts.into())),
                Array::flat("forest.columns", Values::U32(arrays.columns.into())),
                Array::flat("forest.splits", Values::F32(arrays.splits.into())),
                Array::flat("forest.lefts", Values::U32(arrays.lefts.into())),
            ]
        }
        FittedDetector::ExtendedForest(forest) => {
            let arrays = forest.to_arrays();
            vec![
                Array::flat("forest.tree_starts", Values::U32(arrays.tree_starts.into())),
                Array::flat("forest.lefts", Values::U32(arrays.lefts.into())),
                Array::flat("forest.splits", Values::F64(arrays.splits.into())),
                Array::flat("forest.columns", Values::U32(arrays.columns.into())),
                Array::flat("forest.weights", Values::F32(arrays.weights.into())),
            ]
        }
        FittedDetector::OneClassSvm(svm) => {
            let vectors = svm.support_vectors();
            let values = vectors.as_slice().expect("support vectors are kept in the standard layout");
            let mut arrays = vec![
                Array::flat("svm.coefficients", Values::F64(svm.coefficients().into())),
                Array::flat("svm.rho", Values::F64(vec![svm.rho()].into())),
                Array {
                    name: "svm.support_vectors",
                    shape: vectors.shape().to_vec(),
                    values: Values::F32(values.into()),
                },
            ];
            if let Kernel::Rbf { gamma } = svm.kernel() {
                arrays.push(Array::flat("svm.gamma", Values::F64(vec![gamma].into())));
            }
            arrays
        }
    }
}

pub(super) fn load(
    manifest: &Manifest,
    loaded: &mut Loaded,
    path: &Path,
) -> Result<FittedDetector, ArtefactError> {
    let corrupt = |error: crate::Error| ArtefactError::corrupt(path, error);
    let n_features = manifest.n_detector_features;
    let sample_size = || {
        let message = "the manifest does not say on how many rows each tree was grown";
        manifest.forest_sample_size.ok_or_else(|| ArtefactError::corrupt(path, message))
    };
    let check_trees = |found: usize, wanted: usize| {
        if found == wanted {
            return Ok(());
        }
        Err(ArtefactError::corrupt(path, format!("{found} trees, {wanted} in the manifest")))
    };
    Ok(match &manifest.params.detector {
        DetectorParams::IsolationForest(params) => {
            let arrays = ForestArrays {
                tree_starts: loaded.u32s("forest.tree_starts", path)?,
                columns: loaded.u32s("forest.columns", path)?,
                splits: loaded.f32s("forest.splits", path)?,
                lefts: loaded.u32s("forest.lefts", path)?,
            };
            let forest =
                IsolationForest::from_arrays(&arrays, n_features, sample_size()?).map_err(corrupt)?;
            check_trees(forest.n_trees(), params.n_trees)?;
            FittedDetector::IsolationForest(forest)
        }
        DetectorParams::ExtendedForest(params) => {
            let arrays = ExtendedForestArrays {
                tree_starts: loaded.u32s("forest.tree_starts", path)?,
                lefts: loaded.u32s("forest.lefts", path)?,
                splits: loaded.f64s("forest.splits", path)?,
                columns: loaded.u32s("forest.columns", path)?,
                weights: loaded.f32s("forest.weights", path)?,
            };
            let forest = ExtendedForest::from_arrays(&arrays, params.n_columns, n_features, sample_size()?)
                .map_err(corrupt)?;
            check_trees(forest.n_trees(), params.n_trees)?;
            FittedDetector::ExtendedForest(forest)
        }
        DetectorParams::OneClassSvm(params) => {
            let mut number = |name: &'static str| match loaded.f64s(name, path)?.as_slice() {
                &[number] => Ok(number),
                _ => Err(ArtefactError::corrupt(path, format!("{name} is not one number"))),
            };
            let rho = number("svm.rho")?;
            let kernel = match params.kernel {
                KernelKind::Rbf => Kernel::Rbf { gamma: number("svm.gamma")? },
                KernelKind::Linear => Kernel::Linear,
            };
            let vectors = loaded.matrix("svm.support_vectors", path)?;
            let coefficients = loaded.f64s("svm.coefficients", path)?;
            FittedDetector::OneClassSvm(
                OneClassSvm::from_parts(kernel, vectors, coefficients, rho).map_err(corrupt)?,
            )
        }
    })
}
