use super::*;
use crate::rng::Rng;
use ndarray::array;
use proptest::prelude::*;

fn random(n_rows: usize, n_features: usize, seed: u64) -> Array2<f32> {
    let mut rng = Rng::new(seed);
    // Features of different spread and far from the origin.
    let spread: Vec<f64> = (0..n_features).map(|j| 1.0 + 3.0 / (1.0 + j as f64)).collect();
    Array2::from_shape_fn((n_rows, n_features), |(_, j)| (20.0 + spread[j] * rng.normal()) as f32)
}

fn fit(samples: &Array2<f32>, n_components: usize) -> Pca {
    PcaParams { n_components }.fit(samples.view(), 0).expect("fits")
}

#[test]
fn points_on_a_line_have_its_direction_and_the_variance_with_divisor_n_minus_1() {
    // Direction (-3, -4) / 5: the largest loading is made positive. Positions -5, 0, 5: variance 25.
    let samples = array![[3.0f32, 4.0], [0.0, 0.0], [-3.0, -4.0]];
    let pca = fit(&samples, 1);
    assert!((pca.components()[[0, 0]] - 0.6).abs() < 1e-6 && (pca.components()[[0, 1]] - 0.8).abs() < 1e-6);
    assert!((pca.explained_variance()[0] - 25.0).abs() < 1e-9);
    assert!((pca.total_variance() - 25.0).abs() < 1e-9);
    let projected = pca.transform(array![[6.0f32, 8.0]].view()).expect("projects");
    assert!((projected[[0, 0]] - 10.0).abs() < 1e-5);
}

#[test]
fn both_ways_give_the_same_components() {
    // 40 x 30 goes by columns; the same data with constant features appended, 40 x 130, by rows.
    let narrow = random(40, 30, 1);
    let mut wide = Array2::from_elem((40, 130), 7.5f32);
    wide.slice_axis_mut(Axis(1), ndarray::Slice::from(..30)).assign(&narrow);
    let (a, b) = (fit(&narrow, 12), fit(&wide, 12));
    for k in 0..12 {
        assert!((a.explained_variance()[k] / b.explained_variance()[k] - 1.0).abs() < 1e-10);
        for j in 0..130 {
            let expected = if j < 30 { a.components()[[k, j]] } else { 0.0 };
            assert!((b.components()[[k, j]] - expected).abs() < 1e-5, "component {k}, feature {j}");
        }
    }
    assert!((a.total_variance() / b.total_variance() - 1.0).abs() < 1e-12);
}

#[test]
fn fewer_components_are_given_where_the_samples_span_fewer_dimensions() {
    let distinct = random(4, 50, 2);
    let samples = distinct.select(Axis(0), &[0, 1, 2, 3, 0, 1, 2, 3, 0]);
    assert_eq!(fit(&samples, 8).n_outputs(), 3);
    let equal = Array2::from_elem((5, 4), 0.1f32);
    let error = PcaParams { n_components: 2 }.fit(equal.view(), 0).expect_err("refused");
    assert!(error.to_string().contains("all rows are equal"), "{error}");
}

#[test]
fn wrong_input_is_refused_by_name() {
    let samples = random(6, 20, 3);
    for n_components in [0, 6] {
        let error = PcaParams { n_components }.fit(samples.view(), 0).expect_err("refused");
        let wanted = format!("n_components is {n_components}, expected 1 to 5 for 6 samples of 20 features");
        assert_eq!(error.to_string(), wanted);
    }
    let one = PcaParams { n_components: 1 }.fit_rows(&[&[1.0, 2.0]]).expect_err("refused");
    assert!(matches!(one, Error::TooFewSamples { found: 1, .. }));
    let bad = PcaParams { n_components: 1 }.fit_rows(&[&[1.0, 2.0], &[f32::NAN, 2.0]]).expect_err("refused");
    assert!(matches!(bad, Error::NotFinite { index: 2, .. }));
    let ragged = PcaParams { n_components: 1 }.fit_rows(&[&[1.0, 2.0], &[2.0]]).expect_err("refused");
    assert!(matches!(ragged, Error::Shape { .. }));
    assert!(fit(&samples, 2).transform(random(1, 19, 1).view()).is_err());
}

#[test]
fn components_and_projections_are_the_same_for_any_number_of_threads() {
    let samples = random(30, 9000, 4);
    let run = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads");
        pool.install(|| {
            let pca = fit(&samples, 20);
            let projections = pca.transform(samples.view()).expect("projects");
            (pca, projections)
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

#[test]
fn projection_of_a_row_does_not_depend_on_its_batch() {
    let samples = random(19, 5000, 5);
    let pca = fit(&samples, 10);
    let together = pca.transform(samples.view()).expect("projects");
    for (row_idx, row) in samples.rows().into_iter().enumerate() {
        let alone = pca.transform(row.insert_axis(Axis(0))).expect("projects");
        assert_eq!(alone.row(0), together.row(row_idx));
    }
}

#[test]
fn value_that_is_not_finite_makes_the_projection_so() {
    let samples = random(5, 40, 6);
    let pca = fit(&samples, 3);
    let mut row = samples.row(0).to_owned();
    row[17] = f32::NAN;
    let projected = pca.transform(row.view().insert_axis(Axis(0))).expect("projects");
    assert!(projected.iter().all(|v| v.is_nan()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn components_are_orthonormal_and_projections_uncorrelated_with_the_stated_variance(
        n_rows in 3usize..30,
        n_features in 2usize..60,
        seed: u64,
    ) {
        let samples = random(n_rows, n_features, seed);
        let most = (n_rows - 1).min(n_features);
        let rows: Vec<&[f32]> = samples.rows().into_iter().filter_map(|row| row.to_slice()).collect();
        let (pca, scores) = PcaParams { n_components: most }.fit_with_scores(&rows).expect("fits");
        let products = pca.components().dot(&pca.components().t());
        for ((i, j), &value) in products.indexed_iter() {
            let expected = if i == j { 1.0 } else { 0.0 };
            prop_assert!((value - expected).abs() < 1e-4, "{i} {j}: {value}");
        }
        let projected = pca.transform(samples.view()).expect("projects");
        for (a, b) in projected.iter().zip(&scores) {
            prop_assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
        let first = pca.explained_variance()[0];
        for (k, &variance) in pca.explained_variance().iter().enumerate() {
            let measured = f64::from(projected.column(k).var(1.0));
            prop_assert!((measured - variance).abs() < 1e-4 * first, "{k}: {measured} {variance}");
        }
        prop_assert!(pca.explained_variance().windows(2).all(|pair| pair[0] >= pair[1]));
        // All components together hold all variance.
        prop_assert!((pca.explained_variance().iter().sum::<f64>() / pca.total_variance() - 1.0).abs() < 1e-9);
        for component in pca.components().rows() {
            let largest = component.iter().fold(0f32, |m, &v| if v.abs() > m.abs() { v } else { m });
            prop_assert!(largest > 0.0);
        }
    }
}
