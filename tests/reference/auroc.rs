//! How well our forests find the odd rows of bundled data sets, beside scikit-learn's and isotree's, with 1,000 trees each.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod samples;

use anomalyd_models::detector::{DetectorParams, ExtendedForestParams, IsolationForestParams};
use anomalyd_models::{Detector, Result};
use ndarray::{Array2, Axis};
use samples::ranks::{auroc, mean_and_deviation, spearman};
use samples::{Bundled, read};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Reference {
    n_trees: usize,
    sample_size: usize,
    n_odd: usize,
    classes: BTreeMap<String, Vec<u8>>,
    iris: Bundled,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    set: String,
    odd: u8,
    auroc: BTreeMap<String, Vec<f64>>,
    /// Of each of five seeds; not of every case.
    scores: BTreeMap<String, Vec<Vec<f64>>>,
}

/// Our seeds; written out so that the test is the same every time.
const SEEDS: [u64; 5] = [11, 22, 33, 44, 55];
/// By how much an area under the curve may differ from a peer's, in the mean over seeds.
const MAX_DIFFERENCE: f64 = 0.005;
/// Where seeds alone make it differ by more (ten odd rows are few): so many standard errors of the two means.
const MAX_ERRORS: f64 = 4.0;

/// All rows but those of the odd class after its first ones, and which are odd.
fn thinned(
    reference: &Reference,
    bundled: &BTreeMap<String, Bundled>,
    case: &Case,
) -> (Array2<f32>, Vec<u8>) {
    let set = bundled.get(&case.set).unwrap_or(&reference.iris).samples();
    let mut n_odd = 0;
    let rows = reference.classes[&case.set].iter().enumerate().filter(|(_, class)| {
        n_odd += usize::from(**class == case.odd);
        **class != case.odd || n_odd <= reference.n_odd
    });
    let rows: Vec<(usize, u8)> = rows.map(|(row, class)| (row, u8::from(*class == case.odd))).collect();
    let order: Vec<usize> = rows.iter().map(|(row, _)| *row).collect();
    (set.select(Axis(0), &order), rows.into_iter().map(|(_, label)| label).collect())
}

/// The scores of all rows, for each of our seeds.
fn scores(params: &DetectorParams, x: &Array2<f32>) -> Vec<Vec<f64>> {
    let rows: Vec<&[f32]> = x.rows().into_iter().filter_map(|row| row.to_slice()).collect();
    let of_seed = |seed| -> Result<Vec<f64>> {
        let scores = params.fit_rows(&rows, seed)?.score(x.view())?;
        Ok(scores.iter().map(|&score| f64::from(score)).collect())
    };
    SEEDS.into_iter().map(|seed| of_seed(seed).unwrap()).collect()
}

/// Compares ours with those of `peers` in every case, and over all cases.
fn compare(params_with: impl Fn(&Reference) -> DetectorParams, peers: &[&str]) {
    let reference: Reference = read("auroc_reference.json");
    let bundled: BTreeMap<String, Bundled> = read("samples.json");
    let params = params_with(&reference);
    let mut differences = BTreeMap::<&str, Vec<f64>>::new();
    for case in &reference.cases {
        let (x, labels) = thinned(&reference, &bundled, case);
        let scores = scores(&params, &x);
        let areas: Vec<f64> = scores.iter().map(|scores| auroc(scores, &labels)).collect();
        let (ours, our_deviation) = mean_and_deviation(&areas);
        for peer in peers {
            let (theirs, deviation) = mean_and_deviation(&case.auroc[*peer]);
            let error = ((our_deviation.powi(2) + deviation.powi(2)) / SEEDS.len() as f64).sqrt();
            println!("{} {}: {ours:.4}, {peer} {theirs:.4} +- {error:.4}", case.set, case.odd);
            let allowed = MAX_DIFFERENCE.max(MAX_ERRORS * error);
            assert!((ours - theirs).abs() <= allowed, "{} {}: {ours} {peer} {theirs}", case.set, case.odd);
            differences.entry(peer).or_default().push(ours - theirs);
            if let Some(of_seeds) = case.scores.get(*peer) {
                let with_theirs =
                    scores.iter().flat_map(|ours| of_seeds.iter().map(move |theirs| spearman(ours, theirs)));
                let among_theirs = (0..of_seeds.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
                let among_theirs: Vec<f64> =
                    among_theirs.map(|(i, j)| spearman(&of_seeds[i], &of_seeds[j])).collect();
                let (mean, deviation) = mean_and_deviation(&among_theirs);
                let ours = mean_and_deviation(&with_theirs.collect::<Vec<f64>>()).0;
                println!("    rank correlation {ours:.4}, among their seeds {mean:.4} +- {deviation:.4}");
                assert!(ours >= mean - 3.0 * deviation, "{} {peer}: rank correlation {ours}", case.set);
            }
        }
    }
    for (peer, differences) in differences {
        let mean = mean_and_deviation(&differences).0;
        println!("{peer}: {mean:+.4} over {} cases", differences.len());
        assert!(mean.abs() <= MAX_DIFFERENCE, "{peer}: {mean}");
    }
}

#[test]
fn isolation_forest_finds_odd_rows_as_well_as_its_peers() {
    let params = |reference: &Reference| {
        DetectorParams::IsolationForest(IsolationForestParams {
            n_trees: reference.n_trees,
            sample_size: Some(reference.sample_size),
            max_depth: None,
        })
    };
    compare(params, &["scikit_learn", "isotree"]);
}

#[test]
fn extended_forest_finds_odd_rows_as_well_as_isotree() {
    let params = |reference: &Reference| {
        DetectorParams::ExtendedForest(ExtendedForestParams {
            n_columns: 3,
            n_trees: reference.n_trees,
            sample_size: Some(reference.sample_size),
            max_depth: None,
        })
    };
    compare(params, &["isotree_extended"]);
}
