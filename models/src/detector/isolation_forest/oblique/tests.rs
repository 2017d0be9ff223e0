use super::*;
use crate::rng::Rng;
use ndarray::{Array2, Axis, array};
use proptest::prelude::*;

fn params(n_columns: usize, n_trees: usize) -> ExtendedForestParams {
    ExtendedForestParams { n_columns, n_trees, ..Default::default() }
}

fn gaussian(n_rows: usize, n_features: usize, seed: u64) -> Array2<f32> {
    let mut rng = Rng::new(seed);
    Array2::from_shape_simple_fn((n_rows, n_features), || rng.normal() as f32)
}

#[test]
fn one_column_a_split_gives_the_scores_of_an_isolation_forest() {
    let mut samples = gaussian(150, 5, 1);
    samples.row_mut(3).fill(4.0);
    samples.column_mut(2).mapv_inplace(|v| (v * 3.0).exp());
    let plain = IsolationForestParams { n_trees: 4000, ..Default::default() };
    let plain = plain.fit(samples.view(), 1).expect("fits").score(samples.view()).expect("scores");
    let ours = params(1, 4000).fit(samples.view(), 1).expect("fits").score(samples.view()).expect("scores");
    // A score has a standard error of about 0.002 with 4000 trees.
    assert!(plain.iter().zip(&ours).all(|(a, b)| (a - b).abs() < 0.018));
}

#[test]
fn cuts_across_the_columns_leave_no_ghost_beside_two_clusters() {
    // Clusters at (0, 10) and (10, 0): cuts along the columns make (0, 0) and (10, 10) look nearly as normal as they are.
    let mut rng = Rng::new(2);
    let samples = Array2::from_shape_fn((400, 2), |(row, column)| {
        let centre = if row % 2 == column { 0.0 } else { 10.0 };
        (centre + rng.normal()) as f32
    });
    let centres = array![[0.0f32, 10.0], [10.0, 0.0]];
    let ghosts = array![[0.0f32, 0.0], [10.0, 10.0]];
    let gap = |scores: &dyn Fn(&Array2<f32>) -> f32| (scores(&ghosts) - scores(&centres)) / 2.0;
    let plain = IsolationForestParams { n_trees: 1000, sample_size: Some(128), max_depth: None };
    let plain = plain.fit(samples.view(), 1).expect("fits");
    let extended = ExtendedForestParams { sample_size: Some(128), ..params(2, 1000) }
        .fit(samples.view(), 1)
        .expect("fits");
    let along = gap(&|rows| plain.score(rows.view()).expect("scores").sum());
    let across = gap(&|rows| extended.score(rows.view()).expect("scores").sum());
    assert!(across > 1.3 * along, "{across} across, {along} along");
}

#[test]
fn scaling_and_shifting_single_columns_does_not_change_the_distribution() {
    let samples = gaussian(100, 6, 3);
    let mut other = samples.clone();
    for (column, (factor, shift)) in
        [(1e-3, 5.0), (1.0, 0.0), (4e5, 1.0), (-2.0, 9.0), (1e20, 0.0), (0.5, 3.0)].iter().enumerate()
    {
        other.column_mut(column).mapv_inplace(|v| v * *factor as f32 + *shift as f32);
    }
    let score =
        |x: &Array2<f32>| params(3, 4000).fit(x.view(), 1).expect("fits").score(x.view()).expect("scores");
    assert!(score(&samples).iter().zip(&score(&other)).all(|(a, b)| (a - b).abs() < 0.018));
}

#[test]
fn duplicates_are_never_separated_and_everything_else_is() {
    for n_features in [1, 4, 3000] {
        let samples = gaussian(3, n_features, 3).select(Axis(0), &[0, 1, 0, 1, 2, 0, 1]);
        let deep = ExtendedForestParams { max_depth: Some(50), ..params(3, 50) };
        let forest = deep.fit(samples.view(), 4).expect("fits");
        assert_eq!(forest.n_nodes(), 50 * 5, "three leaves and two splits a tree");
    }
    let equal = Array2::from_elem((37, 12), 0.25f32);
    let forest = params(3, 20).fit(equal.view(), 1).expect("fits");
    assert_eq!(forest.n_nodes(), 20);
    assert!((forest.score_row(&[9.0; 12]).expect("scores") - 0.5).abs() < 1e-6);
}

#[test]
fn columns_are_drawn_among_those_that_vary_each_as_often() {
    let mut samples = Array2::from_elem((40, 500), 2.0f32);
    let mut rng = Rng::new(5);
    for column in [7, 130, 499] {
        samples.column_mut(column).mapv_inplace(|_| rng.normal() as f32);
    }
    let shallow = ExtendedForestParams { max_depth: Some(1), ..params(2, 6000) };
    let arrays = shallow.fit(samples.view(), 1).expect("fits").to_arrays();
    assert_eq!(arrays.columns.len(), 12_000);
    for column in [7, 130, 499] {
        let n = arrays.columns.iter().filter(|c| **c == column).count();
        assert!(n.abs_diff(4000) < 200, "column {column}: {n} of 6000 pairs");
    }
    // With more columns than vary, all that do are taken.
    let all = params(5, 3).fit(samples.view(), 1).expect("fits").to_arrays();
    let first: Vec<f32> = all.weights[..5].to_vec();
    assert_eq!(first.iter().filter(|w| **w != 0.0).count(), 3, "{first:?}");
}

#[test]
fn forest_is_the_same_for_any_number_of_threads_and_depends_on_its_seed() {
    let samples = gaussian(60, 30, 6);
    let fit = |n_threads: usize, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads");
        pool.install(|| params(3, 20).fit(samples.view(), seed).expect("fits"))
    };
    assert_eq!(fit(1, 1), fit(3, 1));
    assert_ne!(fit(1, 1), fit(1, 2));
}

#[test]
fn wrong_input_is_refused_by_name() {
    let samples = gaussian(5, 3, 1);
    let fit = |params: ExtendedForestParams| params.fit(samples.view(), 1).expect_err("refused").to_string();
    assert_eq!(fit(params(0, 1)), "n_columns is 0, expected 1 to 1000");
    assert_eq!(fit(params(3, 0)), "n_trees is 0, expected 1 to 100000");
    let mut bad = samples.clone();
    bad[[2, 1]] = f32::NAN;
    assert!(matches!(params(3, 5).fit(bad.view(), 1), Err(Error::NotFinite { index: 7, .. })));
    let forest = params(3, 5).fit(samples.view(), 1).expect("fits");
    assert_eq!(forest.score(bad.view()).expect("scores")[2], f32::INFINITY);
    assert!(matches!(forest.score_row(&[1.0]), Err(Error::Shape { .. })));
    assert!(matches!(forest.score(gaussian(2, 4, 1).view()), Err(Error::Shape { .. })));
}

#[test]
fn arrays_that_are_no_forest_are_refused() {
    let forest = params(2, 3).fit(gaussian(20, 4, 1).view(), 1).expect("fits");
    let arrays = forest.to_arrays();
    assert_eq!(ExtendedForest::from_arrays(&arrays, 2, 4, 20).expect("sound"), forest);
    let broken = |change: fn(&mut ExtendedForestArrays)| {
        let mut arrays = arrays.clone();
        change(&mut arrays);
        ExtendedForest::from_arrays(&arrays, 2, 4, 20).is_err()
    };
    assert!(broken(|a| a.columns[0] = 4), "column outside");
    assert!(broken(|a| a.weights[1] = f32::NAN));
    assert!(broken(|a| a.splits[0] = f64::NAN));
    assert!(broken(|a| a.lefts[0] = 0), "a leaf with a direction");
    assert!(broken(|a| a.lefts[0] = u32::MAX), "outside the tree");
    assert!(broken(|a| a.lefts[0] = a.tree_starts[1] - 1), "right child in the next tree");
    assert!(broken(|a| a.tree_starts[1] = 0), "empty tree");
    assert!(broken(|a| a.tree_starts.clear()));
    assert!(broken(|a| a.lefts.truncate(2)));
    assert!(ExtendedForest::from_arrays(&arrays, 3, 4, 20).is_err(), "three columns a split");
    assert!(ExtendedForest::from_arrays(&arrays, 2, 4, 1).is_err(), "c(1) is 0");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn trees_have_their_limits_and_scores_their_range_and_arrays_bring_them_back(
        n_rows in 2usize..60,
        n_features in 1usize..20,
        n_columns in 1usize..6,
        max_depth in proptest::option::of(1u32..9),
        sample_size in proptest::option::of(2usize..70),
        seed: u64,
    ) {
        let samples = gaussian(n_rows, n_features, seed).mapv(|v| v.max(0.0));
        let params = ExtendedForestParams { n_columns, n_trees: 7, sample_size, max_depth };
        let forest = params.fit(samples.view(), seed).expect("fits");
        let size = sample_size.unwrap_or(n_rows).min(n_rows);
        prop_assert!(forest.n_nodes() <= 7 * (2 * size - 1));
        let limit = max_depth.unwrap_or((size as f64).log2().ceil() as u32);
        prop_assert!(forest.n_nodes() <= 7 * (2usize << limit) - 7);
        let scores = forest.score(samples.view()).expect("scores");
        prop_assert!(scores.iter().all(|&s| s > 0.0 && s <= 1.0));
        let again = ExtendedForest::from_arrays(&forest.to_arrays(), n_columns, n_features, size);
        prop_assert_eq!(again.expect("sound"), forest);
    }
}
