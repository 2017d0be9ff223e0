//! Our scaler and principal components against scikit-learn's.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod samples;

use anomalyd_models::transform::{PcaParams, ScalerParams};
use anomalyd_models::{Fit, Transform};
use ndarray::{Array2, Axis, Slice};
use samples::{Bundled, read};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Reference {
    scalers: BTreeMap<String, Scaler>,
    pca: BTreeMap<String, Pca>,
    pca_of_first_30_digits: Pca,
}

#[derive(Deserialize)]
struct Scaler {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

#[derive(Deserialize)]
struct Pca {
    n_components: usize,
    explained_variance: Vec<f64>,
    explained_variance_ratio: Vec<f64>,
    components: Vec<f64>,
    projected_first_row: Vec<f64>,
    projected_last_row: Vec<f64>,
}

/// Ours are stored in f32, theirs in f64.
const F32_TOLERANCE: f64 = 2e-7;
/// Both computed in f64; ours from the squared matrix.
const VARIANCE_TOLERANCE: f64 = 1e-8;
/// Loadings are at most 1; rounding of f32 and of the squared matrix.
const LOADING_TOLERANCE: f64 = 1e-6;
/// Relative to the largest projection of the row: sums of f32 products.
const PROJECTION_TOLERANCE: f64 = 1e-6;

fn load(name: &str) -> Array2<f32> {
    read::<BTreeMap<String, Bundled>>("samples.json")[name].samples()
}

#[track_caller]
fn assert_close(what: &str, ours: impl IntoIterator<Item = f64>, theirs: &[f64], tolerance: f64, scale: f64) {
    let ours: Vec<f64> = ours.into_iter().collect();
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= tolerance * scale.max(b.abs()), "{what} {i}: {a}, scikit-learn {b}");
    }
}

#[test]
fn mean_and_scale_are_those_of_scikit_learn() {
    let reference: Reference = read("transform_reference.json");
    for (name, theirs) in &reference.scalers {
        let ours = ScalerParams.fit(load(name).view(), 0).unwrap();
        assert_close("mean", ours.mean().iter().map(|&m| m.into()), &theirs.mean, F32_TOLERANCE, 0.0);
        assert_close("scale", ours.scale().iter().map(|&s| s.into()), &theirs.scale, F32_TOLERANCE, 0.0);
    }
}

fn compare(samples: &Array2<f32>, theirs: &Pca) {
    let ours = PcaParams { n_components: theirs.n_components }.fit(samples.view(), 0).unwrap();
    let variance = ours.explained_variance();
    assert_close(
        "explained variance",
        variance.iter().copied(),
        &theirs.explained_variance,
        VARIANCE_TOLERANCE,
        0.0,
    );
    let ratio = variance.iter().map(|v| v / ours.total_variance());
    assert_close("ratio", ratio, &theirs.explained_variance_ratio, VARIANCE_TOLERANCE, 0.0);
    let loadings = ours.components().iter().map(|&l| f64::from(l));
    assert_close("loading", loadings, &theirs.components, LOADING_TOLERANCE, 1.0);
    let projected = ours.transform(samples.view()).unwrap();
    for (row, theirs) in [(0, &theirs.projected_first_row), (samples.nrows() - 1, &theirs.projected_last_row)]
    {
        let largest = theirs.iter().fold(0f64, |largest, p| largest.max(p.abs()));
        let ours = projected.row(row).mapv(f64::from);
        assert_close("projection", ours, theirs, PROJECTION_TOLERANCE, largest);
    }
}

#[test]
fn components_and_absolute_variances_are_those_of_scikit_learn() {
    let reference: Reference = read("transform_reference.json");
    for (name, theirs) in &reference.pca {
        compare(&load(name), theirs);
    }
}

#[test]
fn components_of_more_columns_than_rows_are_those_of_scikit_learn() {
    let reference: Reference = read("transform_reference.json");
    let digits = load("digits");
    let first = digits.slice_axis(Axis(0), Slice::from(..30)).to_owned();
    compare(&first, &reference.pca_of_first_30_digits);
}
