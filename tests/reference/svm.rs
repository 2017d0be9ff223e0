//! Our one-class support vector machine against scikit-learn's.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod samples;

use anomalyd_models::detector::OneClassSvmParams;
use anomalyd_models::detector::one_class_svm::{Gamma, KernelKind};
use anomalyd_models::transform::{PcaParams, ScalerParams};
use anomalyd_models::{Fit, Transform};
use ndarray::{Array2, Axis, Slice};
use samples::{Bundled, read};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Reference {
    sets: BTreeMap<String, Vec<Case>>,
    paper: Paper,
}

#[derive(Deserialize)]
struct Case {
    kernel: KernelKind,
    gamma: Gamma,
    nu: f64,
    scaled: bool,
    n_fitted: usize,
    /// Of a sample with itself.
    greatest_kernel: f64,
    n_support: usize,
    rho: f64,
    decision: Vec<f64>,
}

#[derive(Deserialize)]
struct Paper {
    n_components: usize,
    gamma: f64,
    nu: f64,
    n_fitted: usize,
    decision: Vec<f64>,
}

/// What is promised for a kernel of at most 1, and what the tolerances of both give there.
const PROMISED: f64 = 1e-3;
const REACHED: f64 = 1e-5;
/// Of the greatest kernel, where that is not 1: the tolerances are relative to it.
const RELATIVE: f64 = 1e-5;

fn load(name: &str) -> Array2<f32> {
    read::<BTreeMap<String, Bundled>>("samples.json")[name].samples()
}

fn first(samples: &Array2<f32>, n: usize) -> Array2<f32> {
    samples.slice_axis(Axis(0), Slice::from(..n)).to_owned()
}

/// Scores every row; the greatest difference from `theirs`.
fn greatest_difference(
    params: &OneClassSvmParams,
    x: &Array2<f32>,
    n_fitted: usize,
    theirs: &[f64],
) -> (f64, usize, f64) {
    let svm = params.fit(first(x, n_fitted).view(), 0).unwrap();
    let ours = x.rows().into_iter().map(|row| svm.decision(&row.to_vec()).unwrap());
    let greatest = ours.zip(theirs).fold(0.0, |greatest: f64, (a, b)| greatest.max((a - b).abs()));
    (greatest, svm.coefficients().len(), svm.rho())
}

#[test]
fn decisions_on_bundled_sets_are_those_of_scikit_learn() {
    let reference: Reference = read("svm_reference.json");
    for (name, cases) in &reference.sets {
        for case in cases {
            let mut x = load(name);
            if case.scaled {
                x = ScalerParams
                    .fit(first(&x, case.n_fitted).view(), 0)
                    .unwrap()
                    .transform(x.view())
                    .unwrap();
            }
            let params = OneClassSvmParams {
                nu: case.nu,
                kernel: case.kernel,
                gamma: case.gamma,
                ..Default::default()
            };
            let what = format!("{name} {:?} {:?} nu {}", case.kernel, case.gamma, case.nu);
            let (difference, n_support, rho) =
                greatest_difference(&params, &x, case.n_fitted, &case.decision);
            println!("{what}: {difference:.1e}, {n_support} support vectors, rho {rho}");
            let allowed = match case.kernel {
                KernelKind::Rbf => REACHED.min(PROMISED),
                KernelKind::Linear => RELATIVE * case.greatest_kernel,
            };
            assert!(difference <= allowed, "{what}: {difference:.1e}");
            assert!((rho - case.rho).abs() <= allowed, "{what}: rho {rho}, theirs {}", case.rho);
            // Those at the very border may count or not.
            assert!(
                n_support.abs_diff(case.n_support) <= 2,
                "{what}: {n_support}, theirs {}",
                case.n_support
            );
        }
    }
}

#[test]
fn chain_of_z_scores_components_and_machine_decides_as_scikit_learns() {
    let Paper { n_components, gamma, nu, n_fitted, decision } = read::<Reference>("svm_reference.json").paper;
    let x = load("digits");
    let x = ScalerParams.fit(first(&x, n_fitted).view(), 0).unwrap().transform(x.view()).unwrap();
    let pca = PcaParams { n_components }.fit(first(&x, n_fitted).view(), 0).unwrap();
    let x = pca.transform(x.view()).unwrap();
    let params = OneClassSvmParams { nu, gamma: Gamma::Value(gamma), ..Default::default() };
    let (difference, _, _) = greatest_difference(&params, &x, n_fitted, &decision);
    println!("{difference:.1e}");
    assert!(difference <= PROMISED / 10.0, "{difference:.1e}");
}
