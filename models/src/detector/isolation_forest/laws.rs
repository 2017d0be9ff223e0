//! Laws that hold for every isolation forest, beside those in `tests.rs`.

use super::*;
use crate::rng::Rng;
use ndarray::{Array1, Array2, Slice};
use proptest::prelude::*;

fn params(n_trees: usize) -> IsolationForestParams {
    IsolationForestParams { n_trees, ..Default::default() }
}

fn gaussian(n_rows: usize, n_features: usize, seed: u64) -> Array2<f32> {
    let mut rng = Rng::new(seed);
    Array2::from_shape_simple_fn((n_rows, n_features), || rng.normal() as f32)
}

fn scores(params: &IsolationForestParams, samples: &Array2<f32>, seed: u64) -> Array1<f32> {
    params.fit(samples.view(), seed).expect("fits").score(samples.view()).expect("scores")
}

/// A score has a standard error of about 0.002 with 4000 trees.
const N_TREES: usize = 4000;
const CLOSE: f32 = 0.018;

#[test]
fn weights_choose_the_rows_of_a_tree_and_equal_ones_change_nothing_in_distribution() {
    // Of 60 rows only the last 40 have weight: the first 20, far away, are never seen.
    let mut samples = gaussian(60, 4, 1);
    samples.slice_axis_mut(Axis(0), Slice::from(..20)).mapv_inplace(|v| v + 30.0);
    let rows = contiguous_rows(&samples.view()).expect("contiguous");
    let sub = IsolationForestParams { sample_size: Some(32), ..params(N_TREES) };
    let weights: Vec<f64> = (0..60).map(|row| if row < 20 { 0.0 } else { 2.5 }).collect();
    let weighted = sub.fit_weighted(&rows, &weights, 1).expect("fits").score(samples.view()).expect("scores");
    let alone = sub.fit_rows(&rows[20..], 2).expect("fits").score(samples.view()).expect("scores");
    assert!(weighted.iter().zip(&alone).all(|(a, b)| (a - b).abs() < CLOSE));
    let extended =
        ExtendedForestParams { n_columns: 2, n_trees: 500, sample_size: Some(32), max_depth: None };
    let extended = extended.fit_weighted(&rows, &weights, 1).expect("fits");
    let highest = |rows: &[&[f32]]| {
        let scores = rows.iter().map(|row| extended.score_row(row).expect("scores"));
        scores.fold(0.0, f32::max)
    };
    let lowest = rows[..20].iter().map(|row| extended.score_row(row).expect("scores")).fold(1.0, f32::min);
    assert!(lowest > highest(&rows[20..]), "what was never drawn is odd");
    // The heavier a row, the more normal it looks: it is in more of the trees.
    let mut heavy = vec![1.0; 60];
    heavy[3] = 1e6;
    let with = sub.fit_weighted(&rows, &heavy, 1).expect("fits").score_row(rows[3]).expect("scores");
    let without = sub.fit_weighted(&rows, &[1.0; 60], 1).expect("fits").score_row(rows[3]).expect("scores");
    assert!(with < without, "{with} {without}");
    assert!(sub.fit_weighted(&rows, &[1.0; 59], 1).is_err());
    assert!(params(5).fit_weighted(&rows, &weights, 1).is_err(), "all rows of a tree, but 20 without weight");
}

#[test]
fn shifting_and_scaling_single_columns_does_not_change_the_distribution() {
    let samples = gaussian(80, 6, 8);
    let mut other = samples.clone();
    for (column, (factor, shift)) in
        [(1e-3, 5.0), (7.0, 0.1), (1.0, 1.0), (3e8, 0.0), (0.3, -2.0), (1e-12, 0.0)].into_iter().enumerate()
    {
        other.column_mut(column).mapv_inplace(|v| v * factor + shift);
    }
    let (a, b) = (scores(&params(N_TREES), &samples, 1), scores(&params(N_TREES), &other, 2));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < CLOSE));
}

#[test]
fn mirrored_columns_do_not_change_the_distribution() {
    let samples = gaussian(80, 6, 9).mapv(f32::exp);
    let mirrored = samples.mapv(|v| -v);
    let (a, b) = (scores(&params(N_TREES), &samples, 1), scores(&params(N_TREES), &mirrored, 2));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < CLOSE));
}

#[test]
fn the_more_copies_a_row_has_the_more_normal_it_is() {
    let mut samples = gaussian(64, 5, 10);
    let odd = vec![4.0f32; 5];
    let mut last = f32::INFINITY;
    for n_copies in [1, 2, 8, 32] {
        for row in 0..n_copies {
            samples.row_mut(row).fill(4.0);
        }
        let forest = params(1000).fit(samples.view(), 1).expect("fits");
        let score = forest.score_row(&odd).expect("scores");
        assert!(score < last - 0.01, "{n_copies} copies: {score} after {last}");
        last = score;
    }
}

#[test]
fn path_length_of_a_leaf_of_copies_is_its_depth_and_the_average_of_their_number() {
    // One row apart from 12 copies: one split parts them.
    let mut samples = Array2::from_elem((13, 3), 1.0f32);
    samples.row_mut(5).fill(2.0);
    let deep = IsolationForestParams { max_depth: Some(40), ..params(50) };
    let forest = deep.fit(samples.view(), 3).expect("fits");
    assert!((forest.mean_path_length(&[1.0; 3]) - (1.0 + average_path_length(12))).abs() < 1e-5);
    assert!((forest.mean_path_length(&[2.0; 3]) - 1.0).abs() < 1e-6);
    let score = forest.score_row(&[2.0; 3]).expect("scores");
    assert!((score - (-1.0 / average_path_length(13)).exp2() as f32).abs() < 1e-6);
}

#[test]
fn two_rows_have_a_path_of_one_split_and_the_score_a_half() {
    let samples = ndarray::array![[0.0f32, 1.0], [3.0, 1.0]];
    let forest = params(10).fit(samples.view(), 1).expect("fits");
    assert_eq!(forest.mean_path_length(&[9.0, 9.0]), 1.0);
    assert_eq!(forest.score_row(&[1.0, 1.0]).expect("scores"), 0.5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn scaling_each_column_by_its_own_power_of_two_changes_no_score(
        n_rows in 2usize..50,
        exponents in proptest::collection::vec(-30i32..30, 1..20),
        seed: u64,
    ) {
        let samples = gaussian(n_rows, exponents.len(), seed);
        let mut scaled = samples.clone();
        for (mut column, exponent) in scaled.columns_mut().into_iter().zip(&exponents) {
            column.mapv_inplace(|v| v * 2f32.powi(*exponent));
        }
        prop_assert_eq!(scores(&params(9), &samples, seed), scores(&params(9), &scaled, seed));
    }

    #[test]
    fn order_of_rows_changes_no_score(n_rows in 2usize..50, n_features in 1usize..30, seed: u64) {
        let samples = gaussian(n_rows, n_features, seed);
        let reversed = samples.slice_axis(Axis(0), Slice::from(..).step_by(-1)).to_owned();
        let mut ours = scores(&params(9), &reversed, seed).to_vec();
        ours.reverse();
        prop_assert_eq!(scores(&params(9), &samples, seed).to_vec(), ours);
    }

    #[test]
    fn farther_along_any_ray_from_the_centre_is_not_less_anomalous(
        direction in proptest::collection::vec(-1.0f32..1.0, 6),
        seed: u64,
    ) {
        let length = direction.iter().map(|x| x * x).sum::<f32>().sqrt();
        prop_assume!(length > 0.1);
        let forest = params(1000).fit(gaussian(128, 6, seed).view(), seed).expect("fits");
        let at = |radius: f32| {
            let row: Vec<f32> = direction.iter().map(|x| x / length * radius).collect();
            forest.score_row(&row).expect("scores")
        };
        let along = [0.0, 1.0, 2.0, 4.0, 8.0, 1e3].map(at);
        // In expectation: a standard error of 0.004 with 1000 trees.
        prop_assert!(along.windows(2).all(|pair| pair[1] >= pair[0] - 0.02), "{along:?}");
        // Beyond all rows in every column that matters, nothing changes any more.
        let beyond = |radius: f32| direction.iter().all(|x| (x / length * radius).abs() > 6.0);
        if beyond(8.0) {
            prop_assert_eq!(along[4], along[5]);
        }
    }
}
