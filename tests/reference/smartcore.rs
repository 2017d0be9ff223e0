//! Our parts against smartcore's: the same statistics by another hand, in the same process and on the same samples.
#![allow(clippy::unwrap_used)]

use anomalyd_models::detector::IsolationForestParams;
use anomalyd_models::rng::Rng;
use anomalyd_models::transform::{PcaParams, ScalerParams};
use anomalyd_models::{Detector, Fit, Transform};
use ndarray::Array2;
use smartcore::api::{Transformer, UnsupervisedEstimator};
use smartcore::decomposition::pca::{PCA, PCAParameters};
use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::metrics::distance::euclidian::Euclidian;
use smartcore::metrics::roc_auc_score;
use smartcore::neighbors::knn_regressor::{KNNRegressor, KNNRegressorParameters};
use smartcore::preprocessing::numerical::{StandardScaler, StandardScalerParameters};

const N_SAMPLES: usize = 120;
const N_FEATURES: usize = 9;
/// Ours are f32, theirs f64.
const TOLERANCE: f64 = 2e-5;

/// Correlated normal samples, `[N_SAMPLES, N_FEATURES]`; feature k has a standard deviation near k + 1.
fn samples(seed: u64) -> Array2<f32> {
    let mut rng = Rng::new(seed);
    let mut samples = Array2::zeros((N_SAMPLES, N_FEATURES));
    for mut row in samples.rows_mut() {
        let common = rng.normal();
        for (k, value) in row.iter_mut().enumerate() {
            *value = ((k + 1) as f64 * (rng.normal() + 0.3 * common) + k as f64) as f32;
        }
    }
    samples
}

fn dense(samples: &Array2<f32>) -> DenseMatrix<f64> {
    let rows: Vec<Vec<f64>> =
        samples.rows().into_iter().map(|row| row.iter().map(|&x| f64::from(x)).collect()).collect();
    DenseMatrix::from_2d_vec(&rows).unwrap()
}

#[test]
fn z_scores_are_smartcores_standard_scores() {
    let samples = samples(1);
    let ours = ScalerParams.fit(samples.view(), 0).unwrap().transform(samples.view()).unwrap();
    let dense = dense(&samples);
    let theirs =
        StandardScaler::fit(&dense, StandardScalerParameters::default()).unwrap().transform(&dense).unwrap();
    for ((i, k), &value) in ours.indexed_iter() {
        let other = *theirs.get((i, k));
        // smartcore divides by n - 1 or by n: the two agree up to one factor for all samples.
        let factor = f64::from(ours[[0, k]]) / *theirs.get((0, k));
        let bessel = (N_SAMPLES as f64 / (N_SAMPLES as f64 - 1.0)).sqrt();
        assert!((factor - 1.0).abs() < TOLERANCE || (factor - bessel).abs() < TOLERANCE, "{k}: {factor}");
        assert!((f64::from(value) - factor * other).abs() < TOLERANCE, "{i} {k}: {value} {other}");
    }
}

#[test]
fn principal_components_are_smartcores_up_to_sign() {
    let samples = samples(2);
    let n_components = 4;
    let ours = PcaParams { n_components }.fit(samples.view(), 0).unwrap().transform(samples.view()).unwrap();
    let dense = dense(&samples);
    let theirs = PCA::fit(&dense, PCAParameters::default().with_n_components(n_components)).unwrap();
    let theirs = theirs.transform(&dense).unwrap();
    for k in 0..n_components {
        // Theirs may be uncentred: compare differences to the first sample.
        let difference =
            |i: usize| (f64::from(ours[[i, k]] - ours[[0, k]]), *theirs.get((i, k)) - *theirs.get((0, k)));
        let (a, b) = difference(1);
        let sign = (a * b).signum();
        for i in 1..N_SAMPLES {
            let (a, b) = difference(i);
            assert!((a - sign * b).abs() < 1e-3, "sample {i}, component {k}: {a} {b}");
        }
    }
}

#[test]
fn forest_separates_outliers_as_a_nearest_neighbour_distance_does() {
    let normal = samples(3);
    let mut all = samples(4);
    let n_outliers = 20;
    for mut row in all.rows_mut().into_iter().take(n_outliers) {
        row.mapv_inplace(|x| 4.0 * x);
    }
    let truth: Vec<f64> = (0..N_SAMPLES).map(|i| f64::from(u8::from(i < n_outliers))).collect();

    let params = IsolationForestParams { n_trees: 300, ..IsolationForestParams::default() };
    let scores = params.fit(normal.view(), 5).unwrap().score(all.view()).unwrap();
    let forest = roc_auc_score(&truth, &scores.iter().map(|&s| f64::from(s)).collect::<Vec<_>>());

    // Each feature's value as its three nearest normal neighbours would have it; the error is the anomaly score.
    let (reference, wanted) = (dense(&normal), dense(&all));
    let mut errors = vec![0.0; N_SAMPLES];
    for k in 0..N_FEATURES {
        let targets: Vec<f64> = normal.column(k).iter().map(|&x| f64::from(x)).collect();
        let parameters = KNNRegressorParameters::default().with_k(3).with_distance(Euclidian::new());
        let neighbours = KNNRegressor::fit(&reference, &targets, parameters).unwrap();
        for (i, predicted) in neighbours.predict(&wanted).unwrap().into_iter().enumerate() {
            errors[i] += (f64::from(all[[i, k]]) - predicted).powi(2) / (k as f64 + 1.0).powi(2);
        }
    }
    let neighbour = roc_auc_score(&truth, &errors);
    assert!(forest > 0.95, "area under the curve {forest}");
    assert!(forest > neighbour - 0.05, "forest {forest}, nearest neighbours {neighbour}");
}
