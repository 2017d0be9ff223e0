use super::*;
use crate::rng::Rng;
use ndarray::{Axis, Slice};
use proptest::prelude::*;

fn gaussian(n_rows: usize, n_features: usize, seed: u64) -> Array2<f32> {
    let mut rng = Rng::new(seed);
    Array2::from_shape_simple_fn((n_rows, n_features), || rng.normal() as f32)
}

fn params(nu: f64) -> OneClassSvmParams {
    OneClassSvmParams { nu, tolerance: 1e-9, ..Default::default() }
}

fn decisions(svm: &OneClassSvm, samples: &Array2<f32>) -> Vec<f64> {
    samples.rows().into_iter().map(|row| svm.decision(&row.to_vec()).expect("scores")).collect()
}

/// The multiplier of each sample, found by its row; samples must differ.
fn multipliers(svm: &OneClassSvm, samples: &Array2<f32>) -> Vec<f64> {
    let vectors: Vec<_> = svm.support_vectors().rows().into_iter().collect();
    let of = |row| vectors.iter().position(|vector| *vector == row).map_or(0.0, |i| svm.coefficients()[i]);
    samples.rows().into_iter().map(of).collect()
}

/// The conditions of Karush, Kuhn and Tucker: multipliers of samples inside are 0, of those outside 1.
#[track_caller]
fn assert_optimal(svm: &OneClassSvm, samples: &Array2<f32>, nu: f64, tolerance: f64) {
    let multipliers = multipliers(svm, samples);
    let n = samples.nrows() as f64;
    assert!((multipliers.iter().sum::<f64>() - nu * n).abs() < 1e-9 * n, "the sum is {:?}", multipliers);
    for (a, decision) in multipliers.into_iter().zip(decisions(svm, samples)) {
        assert!((0.0..=1.0).contains(&a));
        assert!(a > 0.0 || decision >= -tolerance, "multiplier 0 at {decision}");
        assert!(a < 1.0 || decision <= tolerance, "multiplier 1 at {decision}");
        assert!(a == 0.0 || a == 1.0 || decision.abs() <= tolerance, "multiplier {a} at {decision}");
    }
}

#[test]
fn two_points_have_the_solution_that_can_be_written_down() {
    // Equal multipliers of nu by symmetry: rho is nu (1 + k).
    let samples = ndarray::array![[0.0f32], [2.0]];
    let svm =
        OneClassSvmParams { gamma: Gamma::Value(0.25), ..params(0.5) }.fit(samples.view(), 0).expect("fits");
    let k = (-1.0f64).exp();
    assert!(svm.coefficients().iter().all(|a| (a - 0.5).abs() < 1e-9), "{svm:?}");
    assert!((svm.rho() - 0.5 * (1.0 + k)).abs() < 1e-9);
    // In the middle, both are at distance 1.
    let middle = svm.decision(&[1.0]).expect("scores");
    assert!((middle - ((-0.25f64).exp() - 0.5 * (1.0 + k))).abs() < 1e-9);
    assert!((f64::from(svm.score_row(&[1.0]).expect("scores")) + middle).abs() < 1e-7);
    let far = svm.score_row(&[1e6]).expect("scores");
    assert!((f64::from(far) - svm.rho()).abs() < 1e-7, "far away the score is rho");
}

#[test]
fn linear_kernel_parts_the_samples_from_the_origin_by_the_plane_that_can_be_written_down() {
    // The nearest point of the hull of (1, 1) and (3, 1) to the origin is (1, 1) if it may have all the weight.
    let samples = ndarray::array![[1.0f32, 1.0], [3.0, 1.0]];
    let linear = OneClassSvmParams { kernel: KernelKind::Linear, ..params(0.5) };
    let svm = linear.fit(samples.view(), 0).expect("fits");
    assert_eq!((svm.coefficients(), svm.support_vectors().row(0).to_vec()), (&[1.0][..], vec![1.0, 1.0]));
    // Anything between the gradients 2 and 4 parts them; the middle is taken.
    assert!((svm.rho() - 3.0).abs() < 1e-9, "{}", svm.rho());
    assert!((svm.decision(&[5.0, 7.0]).expect("scores") - 9.0).abs() < 1e-9);
}

#[test]
fn shrinking_and_the_room_for_the_kernel_change_the_time_only() {
    let samples = gaussian(700, 6, 1);
    let svms: Vec<OneClassSvm> = [(true, 200), (false, 200), (true, 0)]
        .into_iter()
        .map(|(shrinking, cache_mib)| {
            let params = OneClassSvmParams { shrinking, cache_mib, tolerance: 1e-10, ..params(0.3) };
            params.fit(samples.view(), 0).expect("fits")
        })
        .collect();
    for svm in &svms {
        assert_optimal(svm, &samples, 0.3, 1e-8);
        assert!((svm.rho() - svms[0].rho()).abs() < 1e-8);
    }
    // The same values in the same order, computed again or kept.
    assert_eq!((&svms[0], svms[0].n_steps()), (&svms[2], svms[2].n_steps()));
}

#[test]
fn machine_is_the_same_for_any_number_of_threads() {
    let samples = gaussian(90, 3000, 2);
    let fit = |n_threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads");
        pool.install(|| {
            let svm = params(0.2).fit(samples.view(), 0).expect("fits");
            let scores = svm.score(samples.view()).expect("scores");
            (svm, scores)
        })
    };
    let one = fit(1);
    assert_eq!(one, fit(2));
    assert_eq!(one, fit(3));
}

#[test]
fn duplicates_count_as_often_as_they_are_there() {
    // Each row three times: the same border as once, since the sum of the multipliers is three times as great.
    let once = gaussian(25, 3, 3);
    let order: Vec<usize> = (0..75).map(|i| i % 25).collect();
    let thrice = once.select(Axis(0), &order);
    let (a, b) =
        (params(0.2).fit(once.view(), 0).expect("fits"), params(0.2).fit(thrice.view(), 0).expect("fits"));
    for (one, three) in decisions(&a, &once).into_iter().zip(decisions(&b, &once)) {
        assert!((3.0 * one - three).abs() < 1e-6, "{one} {three}");
    }
    let equal = Array2::from_elem((12, 4), 0.7f32);
    let svm = params(0.25).fit(equal.view(), 0).expect("fits");
    assert!((svm.rho() - 3.0).abs() < 1e-9, "3 kernels of 1");
    assert!(svm.decision(&[0.7; 4]).expect("scores").abs() < 1e-9);
    assert!(svm.decision(&[0.8; 4]).expect("scores") < -1e-3);
}

#[test]
fn constant_features_change_nothing_but_the_rules_for_gamma() {
    let narrow = gaussian(40, 3, 4);
    let mut wide = Array2::from_elem((40, 7), -2.5f32);
    wide.slice_axis_mut(Axis(1), Slice::from(2..5)).assign(&narrow);
    let fixed = OneClassSvmParams { gamma: Gamma::Value(0.2), ..params(0.1) };
    let [a, b] = [&narrow, &wide].map(|samples| fixed.fit(samples.view(), 0).expect("fits"));
    for (a, b) in decisions(&a, &narrow).into_iter().zip(decisions(&b, &wide)) {
        assert!((a - b).abs() < 1e-7, "{a} {b}");
    }
}

#[test]
fn one_sample_is_its_own_border() {
    let svm = params(0.3).fit(ndarray::array![[4.0f32, 5.0]].view(), 0).expect("fits");
    assert_eq!((svm.coefficients(), svm.rho()), (&[0.3][..], 0.3));
    assert_eq!(svm.decision(&[4.0, 5.0]).expect("scores"), 0.0);
    assert!(svm.score_row(&[4.0, 6.0]).expect("scores") > 0.0);
}

#[test]
fn gamma_that_leaves_every_sample_alone_is_refused_with_a_better_one() {
    let samples = gaussian(30, 5000, 5);
    let fit = |gamma| OneClassSvmParams { gamma, ..params(0.1) }.fit(samples.view(), 0);
    let error = fit(Gamma::Value(0.1)).expect_err("refused").to_string();
    assert!(
        error.starts_with("gamma is 0.1, expected less") && error.contains("\"scale\" would be 2.0"),
        "{error}"
    );
    assert!(fit(Gamma::Rule(GammaRule::Scale)).is_ok());
}

#[test]
fn value_that_is_not_finite_is_an_error_in_a_fit_and_a_finding_in_a_score() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut samples = gaussian(20, 3, 9);
        samples[[4, 1]] = bad;
        let error = params(0.1).fit(samples.view(), 1).expect_err("refused");
        assert!(matches!(error, Error::NotFinite { index: 13, .. }), "{error}");
        let svm = params(0.1).fit(gaussian(20, 3, 9).view(), 1).expect("fits");
        let scores = svm.score(samples.view()).expect("scores");
        assert_eq!(scores[4], f32::INFINITY);
        assert_eq!(scores.iter().filter(|s| s.is_finite()).count(), 19);
    }
}

#[test]
fn wrong_input_is_refused_by_name() {
    let samples = gaussian(5, 3, 1);
    let fit = |params: OneClassSvmParams| params.fit(samples.view(), 1).expect_err("refused").to_string();
    for nu in [0.0, -0.1, 1.01, f64::NAN] {
        assert_eq!(fit(params(nu)), format!("nu is {nu}, expected more than 0 and at most 1"));
    }
    let gamma = fit(OneClassSvmParams { gamma: Gamma::Value(0.0), ..params(0.5) });
    assert_eq!(gamma, "gamma is 0, expected a finite number above 0, \"scale\" or \"auto\"");
    assert!(fit(OneClassSvmParams { tolerance: 0.0, ..params(0.5) }).starts_with("tolerance is 0, expected"));
    assert!(matches!(params(0.5).fit_rows(&[]), Err(Error::TooFewSamples { wanted: 1, found: 0, .. })));
    assert!(matches!(params(0.5).fit_rows(&[&[1.0, 2.0], &[1.0]]), Err(Error::Shape { .. })));
    assert!(matches!(params(0.5).fit_rows(&[&[], &[]]), Err(Error::Shape { .. })));
    let svm = params(0.5).fit(samples.view(), 1).expect("fits");
    assert!(matches!(svm.score_row(&[1.0]), Err(Error::Shape { .. })));
    assert!(matches!(svm.score(gaussian(2, 4, 1).view()), Err(Error::Shape { .. })));
}

#[test]
fn parts_that_are_no_machine_are_refused() {
    let svm = params(0.4).fit(gaussian(10, 2, 1).view(), 1).expect("fits");
    let make = |kernel, rows: usize, coefficient: f64, rho| {
        let coefficients = vec![coefficient; svm.coefficients().len()];
        OneClassSvm::from_parts(kernel, Array2::from_elem((rows, 2), 0.5), coefficients, rho)
    };
    let n = svm.coefficients().len();
    assert!(make(Kernel::Linear, n, 0.5, 1.0).is_ok());
    assert!(make(Kernel::Rbf { gamma: 0.0 }, n, 0.5, 1.0).is_err());
    assert!(make(Kernel::Linear, n + 1, 0.5, 1.0).is_err());
    assert!(make(Kernel::Linear, n, 0.0, 1.0).is_err());
    assert!(make(Kernel::Linear, n, 1.5, 1.0).is_err());
    assert!(make(Kernel::Linear, n, 0.5, f64::NAN).is_err());
    assert!(OneClassSvm::from_parts(Kernel::Linear, Array2::zeros((0, 2)), vec![], 1.0).is_err());
    let (vectors, coefficients) = (svm.support_vectors().clone(), svm.coefficients().to_vec());
    assert_eq!(OneClassSvm::from_parts(svm.kernel(), vectors, coefficients, svm.rho()).expect("sound"), svm);
}

#[test]
fn parameters_are_read_as_scikit_learn_names_them() {
    let read = |text: &str| toml::from_str::<OneClassSvmParams>(text);
    let paper = read("nu = 0.01\ngamma = 0.001\nkernel = \"rbf\"").expect("reads");
    assert_eq!((paper.nu, paper.gamma, paper.kernel), (0.01, Gamma::Value(0.001), KernelKind::Rbf));
    assert_eq!(read("gamma = \"auto\"").expect("reads").gamma, Gamma::Rule(GammaRule::Auto));
    let written = toml::to_string(&OneClassSvmParams::default()).expect("writes");
    assert_eq!(read(&written).expect("reads"), OneClassSvmParams::default());
    assert!(
        read("gama = 1").is_err()
            && read("gamma = \"scales\"").is_err()
            && read("kernel = \"poly\"").is_err()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn solution_is_optimal_and_nu_bounds_outliers_above_and_support_vectors_below(
        n_rows in 2usize..60,
        n_features in 1usize..9,
        nu in 0.01f64..1.0,
        linear: bool,
        shrinking: bool,
        seed: u64,
    ) {
        let samples = gaussian(n_rows, n_features, seed);
        let kernel = if linear { KernelKind::Linear } else { KernelKind::Rbf };
        let svm = OneClassSvmParams { kernel, shrinking, ..params(nu) }.fit(samples.view(), 0).expect("fits");
        assert_optimal(&svm, &samples, nu, 1e-6);
        let n = n_rows as f64;
        let n_out = decisions(&svm, &samples).iter().filter(|d| **d < -1e-6).count() as f64;
        prop_assert!(n_out <= nu * n + 1e-9, "{n_out} of {n} outside");
        prop_assert!(svm.coefficients().len() as f64 >= nu * n - 1e-9);
    }

    #[test]
    fn order_of_samples_and_features_and_a_shift_of_all_do_not_matter(
        n_rows in 2usize..40,
        n_features in 1usize..9,
        seed: u64,
    ) {
        let samples = gaussian(n_rows, n_features, seed);
        let mut other = samples.slice(ndarray::s![..;-1, ..;-1]).to_owned();
        other += 0.5;
        let (a, b) = (params(0.3).fit(samples.view(), 0).expect("fits"), params(0.3).fit(other.view(), 0).expect("fits"));
        let mut ours = decisions(&b, &other);
        ours.reverse();
        // Rounding of the shift in f32.
        for (x, y) in decisions(&a, &samples).into_iter().zip(ours) {
            prop_assert!((x - y).abs() < 1e-5 * n_rows as f64, "{x} {y}");
        }
    }

    #[test]
    fn scaling_all_features_by_a_power_of_two_scales_gamma_and_no_score(
        n_rows in 2usize..40,
        exponent in -20i32..20,
        seed: u64,
    ) {
        let samples = gaussian(n_rows, 4, seed);
        let scaled = samples.mapv(|v| v * 2f32.powi(exponent));
        let score = |x: &Array2<f32>| params(0.2).fit(x.view(), 0).expect("fits").score(x.view()).expect("scores");
        prop_assert_eq!(score(&samples), score(&scaled));
    }
}
