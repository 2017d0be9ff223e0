use super::*;
use crate::rng::Rng;
use ndarray::{Array2, ArrayViewMut2, Slice};
use proptest::prelude::*;

fn params(n_trees: usize) -> IsolationForestParams {
    IsolationForestParams { n_trees, ..Default::default() }
}

fn gaussian(n_rows: usize, n_features: usize, seed: u64) -> Array2<f32> {
    let mut rng = Rng::new(seed);
    Array2::from_shape_simple_fn((n_rows, n_features), || rng.normal() as f32)
}

/// Two thirds zeros, a quarter of the columns zero throughout, as after a ReLU.
fn sparse(n_rows: usize, n_features: usize, seed: u64) -> Array2<f32> {
    let mut rng = Rng::new(seed);
    let mut samples =
        Array2::from_shape_simple_fn((n_rows, n_features), || (rng.normal() as f32 - 0.4).max(0.0));
    for mut column in samples.columns_mut() {
        if rng.uniform() < 0.25 {
            column.fill(0.0);
        }
    }
    samples
}

fn in_pool<T: Send>(n_threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(n_threads)
        .build()
        .expect("threads can be started")
        .install(work)
}

/// Depth of every leaf, by walking the arrays.
fn leaf_depths(arrays: &ForestArrays) -> Vec<u32> {
    let mut depths = Vec::new();
    for tree in arrays.tree_starts.windows(2) {
        let mut pending = vec![(0u32, 0u32)];
        while let Some((node, depth)) = pending.pop() {
            let position = (tree[0] + node) as usize;
            if arrays.columns[position] == nodes::LEAF {
                depths.push(depth);
            } else {
                pending
                    .extend([(arrays.lefts[position], depth + 1), (arrays.lefts[position] + 1, depth + 1)]);
            }
        }
    }
    depths
}

#[test]
fn forest_is_the_same_for_any_number_of_threads_and_any_layout() {
    let mut samples = sparse(60, 3000, 1);
    // Twins, so that their path is compared too.
    for row in 50..60 {
        let copy = samples.row((row - 50) / 3).to_owned();
        samples.row_mut(row).assign(&copy);
        samples[[row, row * 7]] += 1.0;
    }
    let forest = in_pool(1, || params(40).fit(samples.view(), 9)).expect("fits");
    for n_threads in [2, 3] {
        let other = in_pool(n_threads, || params(40).fit(samples.view(), 9)).expect("fits");
        assert_eq!(forest, other);
        let scores = in_pool(n_threads, || other.score(samples.view())).expect("scores");
        assert_eq!(scores, forest.score(samples.view()).expect("scores"));
    }
    let apart: Vec<Vec<f32>> = samples.rows().into_iter().map(|row| row.to_vec()).collect();
    let rows: Vec<&[f32]> = apart.iter().map(Vec::as_slice).collect();
    assert_eq!(forest, params(40).fit_rows(&rows, 9).expect("fits"));
    for mut pool in [SamplePool::<f32>::new(3000), SamplePool::with_capacity(3000, 60)]
        .map(|pool| pool.expect("not empty"))
    {
        rows.iter().for_each(|row| pool.push(row).expect("finite"));
        assert_eq!(forest, params(40).fit_pool(&pool, 9).expect("fits"));
        // Ten rows that came and went leave no trace.
        rows[..10].iter().for_each(|row| pool.push(row).expect("finite"));
        pool.truncate(60);
        assert_eq!(forest, params(40).fit_pool(&pool, 9).expect("fits"));
        // Nor do rows that are left out, whose twins are then others' hubs.
        pool.ignore(5);
        assert_eq!(
            params(40).fit_rows(&rows[5..], 9).expect("fits"),
            params(40).fit_pool(&pool, 9).expect("fits")
        );
        pool.pop_front();
        pool.push(rows[0]).expect("finite");
        let left: Vec<&[f32]> = rows[5..].iter().copied().chain([rows[0]]).collect();
        assert_eq!(
            params(40).fit_rows(&left, 9).expect("fits"),
            params(40).fit_pool(&pool, 9).expect("fits")
        );
    }
    let column_major = samples.t().as_standard_layout().to_owned();
    assert_eq!(forest, params(40).fit(column_major.t(), 9).expect("fits"));
    let mut wide = Array2::zeros((120, 6000));
    let mut strided: ArrayViewMut2<f32> = wide.slice_each_axis_mut(|_| Slice::from(..).step_by(2));
    strided.assign(&samples);
    assert_eq!(forest, params(40).fit(strided.view(), 9).expect("fits"));
}

#[test]
fn score_along_a_path_is_that_of_the_whole_forest() {
    let mut samples = sparse(70, 3000, 21);
    for row in 60..65 {
        let copy = samples.row(row - 60).to_owned();
        samples.row_mut(row).assign(&copy);
        samples[[row, row * 7]] += 1.0;
    }
    let apart: Vec<Vec<f32>> = samples.rows().into_iter().map(|row| row.to_vec()).collect();
    let rows: Vec<&[f32]> = apart.iter().map(Vec::as_slice).collect();
    let mut pool = SamplePool::<f32>::new(3000).expect("not empty");
    rows[..65].iter().for_each(|row| pool.push(row).expect("finite"));
    for params in
        [params(40), IsolationForestParams { sample_size: Some(16), max_depth: Some(9), ..params(11) }]
    {
        let forest = params.fit_rows(&rows[..65], 3).expect("fits");
        for row in &rows {
            let whole = forest.score_row(row).expect("scores");
            assert_eq!(params.score_against_rows(&rows[..65], row, 3).expect("scores"), whole);
            assert_eq!(in_pool(2, || params.score_against_pool(&pool, row, 3)).expect("scores"), whole);
        }
    }
    let mut odd = apart[69].clone();
    odd[2999] = f32::NAN;
    assert_eq!(params(1).score_against_pool(&pool, &odd, 3).expect("a finding"), f32::INFINITY);
    assert!(matches!(params(1).score_against_pool(&pool, &odd[1..], 3), Err(Error::Shape { .. })));
    assert!(matches!(params(0).score_against_pool(&pool, &odd, 3), Err(Error::Parameter { .. })));
    assert!(params(1).score_against_rows(&[rows[0]], rows[1], 3).is_err(), "one row is no sample");
}

#[test]
fn rows_in_halves_score_nearly_as_rows_in_full() {
    let samples = sparse(80, 400, 12);
    let mut pool = SamplePool::<half::bf16>::new(400).expect("not empty");
    samples
        .rows()
        .into_iter()
        .for_each(|row| pool.push(row.as_slice().expect("contiguous")).expect("finite"));
    let full = params(4000).fit(samples.view(), 1).expect("fits").score(samples.view()).expect("scores");
    let halves = params(4000).fit_pool(&pool, 1).expect("fits").score(samples.view()).expect("scores");
    // A score has a standard error of about 0.002 with 4000 trees: what rounding adds is lost in it.
    assert!(full.iter().zip(&halves).all(|(a, b)| (a - b).abs() < 0.018));
}

#[test]
fn seeds_give_different_forests_and_equal_seeds_equal_ones() {
    let samples = gaussian(30, 5, 2);
    let fit = |seed| params(10).fit(samples.view(), seed).expect("fits");
    assert_eq!(fit(1), fit(1));
    assert_ne!(fit(1), fit(2));
}

#[test]
fn copies_of_one_row_are_one_leaf_with_the_average_path_length() {
    for n_features in [3, 5000] {
        let samples = Array2::from_elem((37, n_features), 0.25f32);
        let forest = params(20).fit(samples.view(), 1).expect("fits");
        assert_eq!(forest.n_nodes(), 20);
        let row = vec![9.0; n_features];
        assert!((forest.mean_path_length(&row) - average_path_length(37)).abs() < 1e-6);
        assert!((forest.score_row(&row).expect("scores") - 0.5).abs() < 1e-6);
    }
}

#[test]
fn duplicates_are_never_separated_and_everything_else_is() {
    // Two rows three times each and one alone; deep enough to separate all that differ.
    for n_features in [4, 4096] {
        let different = gaussian(3, n_features, 3);
        let order = [0, 1, 0, 1, 2, 0, 1];
        let samples = different.select(Axis(0), &order);
        let deep = IsolationForestParams { max_depth: Some(50), ..params(50) };
        let forest = deep.fit(samples.view(), 4).expect("fits");
        assert_eq!(forest.n_nodes(), 50 * 5, "three leaves and two splits a tree");
        let arrays = forest.to_arrays();
        let c3 = average_path_length(3) as f32;
        let known = [1.0, 2.0, 1.0 + c3, 2.0 + c3];
        let leaves: Vec<f32> =
            (0..5).filter(|&i| arrays.columns[i] == nodes::LEAF).map(|i| arrays.splits[i]).collect();
        assert!(leaves.iter().all(|l| known.iter().any(|k| (k - l).abs() < 1e-6)), "{leaves:?}");
    }
}

#[test]
fn two_rows_that_look_alike_are_a_leaf_with_the_path_length_that_a_split_would_give() {
    for (n_features, nodes_per_tree) in [(999, 3), (5000, 1)] {
        let mut samples = Array2::from_elem((2, n_features), 0.25f32);
        samples[[1, 77]] = 0.5;
        let deep = IsolationForestParams { max_depth: Some(9), ..params(20) };
        let forest = deep.fit(samples.view(), 1).expect("fits");
        assert_eq!(forest.n_nodes(), 20 * nodes_per_tree);
        for row in samples.rows() {
            assert_eq!(forest.mean_path_length(row.as_slice().expect("contiguous")), 1.0);
        }
    }
}

#[test]
fn split_column_is_uniform_among_those_that_vary() {
    // 3 of 2000 columns vary, the rest must never be chosen; each of the 3 is chosen about as often.
    let mut samples = Array2::from_elem((3, 2000), 1.0f32);
    for (value, column) in [(1e-6, 10), (5.0, 500), (-3e8, 1999)] {
        samples[[1, column]] += value;
    }
    assert_chosen(&samples, &[10, 500, 1999]);
    // The same without twins: the rows are compared where drawing has failed.
    let samples = samples.slice_axis(Axis(1), Slice::from(..1000)).to_owned();
    assert_chosen(&samples, &[10, 500]);
}

fn assert_chosen(samples: &Array2<f32>, columns: &[u32]) {
    let n_trees = 6000;
    let arrays = params(n_trees).fit(samples.view(), 11).expect("fits").to_arrays();
    let chosen: Vec<u32> = arrays.columns.iter().copied().filter(|&c| c != nodes::LEAF).collect();
    assert_eq!(chosen.len(), n_trees);
    let expected = n_trees as f64 / columns.len() as f64;
    for column in columns {
        let n = chosen.iter().filter(|&c| c == column).count() as f64;
        // Five standard deviations of a binomial count.
        assert!((n - expected).abs() < 5.0 * expected.sqrt(), "column {column}: {n} of {n_trees}");
    }
}

#[test]
fn split_position_is_uniform_between_least_and_greatest() {
    let samples = ndarray::array![[0.0f32], [1.0]];
    let arrays = params(20_000).fit(samples.view(), 5).expect("fits").to_arrays();
    let splits: Vec<f64> = arrays
        .columns
        .iter()
        .zip(&arrays.splits)
        .filter(|(column, _)| **column == 0)
        .map(|(_, split)| f64::from(*split))
        .collect();
    let mean = splits.iter().sum::<f64>() / splits.len() as f64;
    let variance = splits.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / splits.len() as f64;
    // Standard errors 0.002 and 0.0005.
    assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 12.0).abs() < 0.003, "{mean} {variance}");
}

#[test]
fn outlier_scores_higher_than_every_normal_row_and_farther_is_not_less() {
    let mut samples = gaussian(200, 8, 6);
    samples.row_mut(0).fill(9.0);
    let forest = params(500).fit(samples.view(), 7).expect("fits");
    let scores = forest.score(samples.view()).expect("scores");
    assert!(scores.iter().skip(1).all(|&s| s < scores[0]), "{scores}");
    let along: Vec<f32> =
        [0.0, 1.0, 2.0, 4.0, 8.0, 16.0].iter().map(|&x| forest.score_row(&[x; 8]).expect("scores")).collect();
    assert!(along.windows(2).all(|pair| pair[1] >= pair[0]), "{along:?}");
}

#[test]
fn order_of_columns_does_not_change_the_distribution_of_scores() {
    let samples = sparse(80, 400, 8);
    let reversed = samples.slice_axis(Axis(1), Slice::from(..).step_by(-1)).as_standard_layout().to_owned();
    let n_trees = 4000;
    let a = params(n_trees).fit(samples.view(), 1).expect("fits").score(samples.view()).expect("scores");
    let b = params(n_trees).fit(reversed.view(), 1).expect("fits").score(reversed.view()).expect("scores");
    // A score has a standard error of about 0.002 with 4000 trees; 80 differences stay within six of them.
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 0.018));
    assert!(a != b);
}

#[test]
fn sub_samples_are_drawn_without_replacement() {
    let samples = Array2::from_shape_fn((50, 1), |(i, _)| i as f32);
    let deep = IsolationForestParams { n_trees: 300, sample_size: Some(50), max_depth: Some(60) };
    assert_eq!(
        deep.fit(samples.view(), 1).expect("fits").n_nodes(),
        300 * 99,
        "50 different rows, 50 leaves"
    );
    let deep = IsolationForestParams { sample_size: Some(8), ..deep };
    let forest = deep.fit(samples.view(), 1).expect("fits");
    assert_eq!(forest.n_nodes(), 300 * 15, "8 different rows, 8 leaves");
    assert_eq!(forest.sample_size(), 8);
}

#[test]
fn value_that_is_not_finite_is_an_error_in_a_fit_and_a_finding_in_a_score() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut samples = gaussian(20, 3, 9);
        samples[[4, 1]] = bad;
        let error = params(10).fit(samples.view(), 1).expect_err("refused");
        assert!(matches!(error, Error::NotFinite { index: 13, .. }), "{error}");
        let forest = params(10).fit(gaussian(20, 3, 9).view(), 1).expect("fits");
        let scores = forest.score(samples.view()).expect("scores");
        assert_eq!(scores[4], f32::INFINITY);
        assert!(scores.iter().filter(|s| s.is_finite()).count() == 19);
    }
}

#[test]
fn wrong_input_is_refused_by_name() {
    let samples = gaussian(5, 3, 1);
    let fit = |params: IsolationForestParams| params.fit(samples.view(), 1).expect_err("refused").to_string();
    assert_eq!(fit(params(0)), "n_trees is 0, expected 1 to 100000");
    assert_eq!(
        fit(IsolationForestParams { sample_size: Some(1), ..params(1) }),
        "sample_size is 1, expected at least 2"
    );
    assert_eq!(
        fit(IsolationForestParams { max_depth: Some(0), ..params(1) }),
        "max_depth is 0, expected at least 1"
    );
    let one = params(1).fit(samples.slice_axis(Axis(0), Slice::from(..1)), 1).expect_err("refused");
    assert_eq!(one.to_string(), "isolation forest: 1 samples, at least 2 are needed");
    let ragged = params(1).fit_rows(&[&[1.0, 2.0], &[1.0]], 1).expect_err("refused");
    assert!(matches!(ragged, Error::Shape { .. }));
    assert!(params(1).fit_rows(&[&[], &[]], 1).is_err());
    let forest = params(1).fit(samples.view(), 1).expect("fits");
    assert!(matches!(forest.score_row(&[1.0]), Err(Error::Shape { .. })));
    assert!(matches!(forest.score(gaussian(2, 4, 1).view()), Err(Error::Shape { .. })));
}

#[test]
fn arrays_that_are_no_forest_are_refused() {
    let forest = params(3).fit(gaussian(20, 4, 1).view(), 1).expect("fits");
    let arrays = forest.to_arrays();
    assert_eq!(IsolationForest::from_arrays(&arrays, 4, 20).expect("sound"), forest);
    let broken = |change: fn(&mut ForestArrays)| {
        let mut arrays = arrays.clone();
        change(&mut arrays);
        IsolationForest::from_arrays(&arrays, 4, 20).is_err()
    };
    assert!(broken(|a| a.columns[0] = 4), "column outside");
    assert!(broken(|a| a.splits[0] = f32::NAN));
    assert!(broken(|a| a.lefts[0] = 0), "cycle");
    assert!(broken(|a| a.lefts[0] = u32::MAX), "outside the tree");
    assert!(broken(|a| a.lefts[0] = a.tree_starts[1] - 1), "right child in the next tree");
    assert!(broken(|a| a.tree_starts[1] = 0), "empty tree");
    assert!(broken(|a| a.tree_starts[1] = u32::MAX));
    assert!(broken(|a| *a.tree_starts.last_mut().expect("not empty") -= 1));
    assert!(broken(|a| a.tree_starts.clear()));
    assert!(broken(|a| a.lefts.truncate(2)));
    assert!(IsolationForest::from_arrays(&arrays, 4, 1).is_err(), "c(1) is 0");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn depth_never_exceeds_its_limit_and_scores_lie_in_their_range(
        n_rows in 2usize..80,
        n_features in 1usize..40,
        max_depth in proptest::option::of(1u32..9),
        sample_size in proptest::option::of(2usize..90),
        seed: u64,
    ) {
        let samples = sparse(n_rows, n_features, seed);
        let forest = IsolationForestParams { n_trees: 7, sample_size, max_depth }
            .fit(samples.view(), seed).expect("fits");
        let size = sample_size.unwrap_or(n_rows).min(n_rows);
        let limit = max_depth.unwrap_or((size as f64).log2().ceil() as u32);
        prop_assert!(leaf_depths(&forest.to_arrays()).into_iter().all(|depth| depth <= limit));
        prop_assert!(forest.n_nodes() <= 7 * (2 * size - 1));
        let scores = forest.score(samples.view()).expect("scores");
        prop_assert!(scores.iter().all(|&s| s > 0.0 && s <= 1.0));
    }

    #[test]
    fn scaling_by_a_power_of_two_changes_no_score(
        n_rows in 2usize..50,
        n_features in 1usize..30,
        exponent in -40i32..40,
        seed: u64,
    ) {
        let samples = gaussian(n_rows, n_features, seed);
        let scaled = samples.mapv(|v| v * 2f32.powi(exponent));
        let score = |x: &Array2<f32>| params(9).fit(x.view(), seed).expect("fits").score(x.view()).expect("scores");
        prop_assert_eq!(score(&samples), score(&scaled));
    }

    #[test]
    fn stored_arrays_give_the_same_forest(n_rows in 2usize..40, n_features in 1usize..20, seed: u64) {
        let forest = params(5).fit(sparse(n_rows, n_features, seed).view(), seed).expect("fits");
        let again = IsolationForest::from_arrays(&forest.to_arrays(), n_features, n_rows);
        prop_assert_eq!(again.expect("sound"), forest);
    }

    #[test]
    fn arrays_of_any_numbers_never_make_a_walk_leave_its_tree(
        columns in proptest::collection::vec(prop_oneof![0u32..3, Just(u32::MAX)], 1..20),
        lefts in proptest::collection::vec(0u32..20, 20),
        middle in 0u32..20,
    ) {
        let n = columns.len();
        let arrays = ForestArrays {
            tree_starts: vec![0, middle, n as u32],
            splits: vec![0.5; n],
            lefts: lefts[..n].to_vec(),
            columns,
        };
        if let Ok(forest) = IsolationForest::from_arrays(&arrays, 3, 8) {
            prop_assert!(forest.mean_path_length(&[0.0, 1.0, 0.4]).is_finite());
        }
    }
}
