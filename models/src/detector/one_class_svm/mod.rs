//! One-class support vector machine: the smallest region, in the kernel's space, that holds all samples but a share `nu`.
//!
//! Schölkopf, Platt, Shawe-Taylor, Smola, Williamson, "Estimating the support of a high-dimensional distribution", Neural
//! Computation 13 (2001), equations 20 to 24; solved as LIBSVM does, whose scale (multipliers in [0, 1], their sum `nu n`)
//! scikit-learn's `OneClassSVM` has as well.

mod cache;
mod kernel;
mod smo;

pub use kernel::{Gamma, GammaRule, Kernel, KernelKind};

use crate::finite::first_not_finite;
use crate::traits::{Detector, Fit};
use crate::{Error, Result};
use cache::{Cache, Samples};
use kernel::scalar_product;
use ndarray::{Array1, Array2, ArrayView2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How a one-class support vector machine is fitted.
///
/// # Examples
///
/// ```
/// use anomalyd_models::detector::OneClassSvmParams;
/// use anomalyd_models::detector::one_class_svm::Gamma;
/// use anomalyd_models::{Detector, Fit};
/// use ndarray::array;
///
/// let samples = array![[0.0f32, 0.1], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0], [0.05, 0.02], [0.0, 0.05]];
/// let svm = OneClassSvmParams { nu: 0.2, gamma: Gamma::Value(1.0), ..Default::default() }.fit(samples.view(), 0)?;
/// let scores = svm.score(array![[0.05f32, 0.05], [5.0, 5.0]].view())?;
/// assert!(scores[0] <= 0.0 && scores[1] > 0.0);
/// # Ok::<(), anomalyd_models::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OneClassSvmParams {
    /// In (0, 1]: at most this share of the samples of the fit has a score above 0, and at least this share becomes support
    /// vectors.
    pub nu: f64,
    /// The kernel.
    pub kernel: KernelKind,
    /// How fast the RBF kernel falls off; not used by the linear one.
    pub gamma: Gamma,
    /// How exact the solution is: the greatest violation of an optimality condition, above 0, in units of the greatest kernel of a
    /// sample with itself (1 for RBF, so that it is an error of the score). What is below 1e-12 of the sum of the multipliers counts as
    /// rounding.
    pub tolerance: f64,
    /// Whether samples that cannot move are set aside during the search; it changes the time only.
    pub shrinking: bool,
    /// Room for rows of the kernel matrix during a fit, in mebibytes; two rows are always kept. It changes the time only.
    pub cache_mib: usize,
}

impl Default for OneClassSvmParams {
    fn default() -> Self {
        Self {
            nu: 0.01,
            kernel: KernelKind::Rbf,
            gamma: Gamma::Rule(GammaRule::Scale),
            tolerance: 1e-6,
            shrinking: true,
            cache_mib: 200,
        }
    }
}

/// Steps of the search that LIBSVM allows as well: for so many, and for so many a sample.
const MAX_STEPS: u64 = 10_000_000;
const MAX_STEPS_PER_SAMPLE: u64 = 100;
/// A kernel between different samples that is below this share of their own says nothing.
const LEAST_LIKENESS: f64 = 1e-9;

impl OneClassSvmParams {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] names the first that is outside.
    pub fn check(&self) -> Result<()> {
        let refuse = |name, found: f64, expected: &str| {
            Err(Error::Parameter { name, found: found.to_string(), expected: expected.into() })
        };
        if !(self.nu > 0.0 && self.nu <= 1.0) {
            return refuse("nu", self.nu, "more than 0 and at most 1");
        }
        if !(self.tolerance > 0.0 && self.tolerance.is_finite()) {
            return refuse("tolerance", self.tolerance, "a finite number above 0");
        }
        self.gamma.check()
    }

    /// Fits on rows that lie apart in memory.
    ///
    /// Time: about `n^2 d` multiplications in f64 for the kernel where it fits into the cache. Memory: the cache and the support
    /// vectors.
    ///
    /// # Errors
    ///
    /// - [`Error::TooFewSamples`] without a row.
    /// - [`Error::Shape`] for rows of different length or without a feature.
    /// - [`Error::NotFinite`] for NaN or infinity; its index counts row by row.
    /// - [`Error::Parameter`] as in [`check`](Self::check); for a `gamma` so great that the kernel between any two different samples
    ///   is 0 in effect: every new image would get the same score; for a `tolerance` that was not reached.
    pub fn fit_rows(&self, rows: &[&[f32]]) -> Result<OneClassSvm> {
        self.check()?;
        let n_features = check_rows(rows)?;
        let n = rows.len();
        let kernel = match self.kernel {
            KernelKind::Rbf => Kernel::Rbf { gamma: self.gamma.resolve(rows) },
            KernelKind::Linear => Kernel::Linear,
        };
        let cache = Cache::new(Samples::new(rows, kernel), self.cache_mib.saturating_mul(1 << 20));
        let max_steps = MAX_STEPS.max(MAX_STEPS_PER_SAMPLE * n as u64);
        let solution = smo::solve(cache, self.nu * n as f64, self.tolerance, self.shrinking, max_steps)
            .map_err(|smo::NotConverged { gap }| Error::Parameter {
                name: "tolerance",
                found: self.tolerance.to_string(),
                expected: format!(
                    "a greater one: after {max_steps} steps conditions were violated by {gap:.1e}"
                ),
            })?;
        if let Kernel::Rbf { gamma } = kernel
            && n > 1
            && solution.sees_itself_only()
        {
            let scale = Gamma::Rule(GammaRule::Scale).resolve(rows);
            return Err(Error::Parameter {
                name: "gamma",
                found: gamma.to_string(),
                expected: format!(
                    "less: the kernel between different samples is 0 in effect, so that all new ones would score alike; \"scale\" would \
                     be {scale:.3e}"
                ),
            });
        }
        let support: Vec<usize> = (0..n).filter(|&i| solution.multipliers[i] > 0.0).collect();
        let vectors: Vec<f32> = support.iter().flat_map(|&i| rows[i].iter().copied()).collect();
        let vectors =
            Array2::from_shape_vec((support.len(), n_features), vectors).expect("rows of this length");
        let coefficients = support.iter().map(|&i| solution.multipliers[i]).collect();
        let mut svm = OneClassSvm::from_parts(kernel, vectors, coefficients, solution.rho)?;
        svm.n_steps = solution.n_steps;
        Ok(svm)
    }
}

impl smo::Solution {
    /// Whether the multiplier of each sample is all that it sees.
    fn sees_itself_only(&self) -> bool {
        self.multipliers.iter().zip(&self.gradient).all(|(own, seen)| seen - own <= LEAST_LIKENESS)
    }
}

fn check_rows(rows: &[&[f32]]) -> Result<usize> {
    let Some(first) = rows.first() else {
        return Err(Error::TooFewSamples { what: "one-class support vector machine", wanted: 1, found: 0 });
    };
    let width = first.len();
    if let Some(other) = rows.iter().find(|row| row.len() != width || row.is_empty()) {
        return Err(Error::Shape {
            what: "rows of samples",
            wanted: format!("{} values in each, as in the first", width.max(1)),
            found: other.len().to_string(),
        });
    }
    let bad: Vec<Option<usize>> = rows.par_iter().map(|row| first_not_finite(row)).collect();
    match bad.iter().enumerate().find_map(|(row_idx, bad)| bad.map(|column| row_idx * width + column)) {
        Some(index) => Err(Error::NotFinite { what: "samples", index }),
        None => Ok(width),
    }
}

impl Fit for OneClassSvmParams {
    type Model = OneClassSvm;

    /// Fits on `[n, n_features]`; the seed is not used: nothing is random. As [`fit_rows`](OneClassSvmParams::fit_rows).
    fn fit(&self, samples: ArrayView2<'_, f32>, _seed: u64) -> Result<OneClassSvm> {
        let samples = samples.as_standard_layout();
        self.fit_rows(&samples.rows().into_iter().filter_map(|row| row.to_slice()).collect::<Vec<_>>())
    }
}

/// A fitted one-class support vector machine.
#[derive(Debug, Clone)]
pub struct OneClassSvm {
    kernel: Kernel,
    /// `[n_support, n_features]`, in the standard layout.
    vectors: Array2<f32>,
    coefficients: Vec<f64>,
    rho: f64,
    /// Scalar product of each support vector with itself.
    squares: Vec<f64>,
    n_steps: u64,
}

impl PartialEq for OneClassSvm {
    /// Whether both score alike; how many steps led there does not matter.
    fn eq(&self, other: &Self) -> bool {
        (self.kernel, &self.vectors, &self.coefficients, self.rho)
            == (other.kernel, &other.vectors, &other.coefficients, other.rho)
    }
}

impl OneClassSvm {
    /// A machine from what the four methods below gave, which need not be trusted.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the lengths do not fit each other; [`Error::NotFinite`] for NaN or infinity; [`Error::Parameter`] for a
    /// coefficient outside (0, 1] or a gamma that is not above 0.
    pub fn from_parts(
        kernel: Kernel,
        vectors: Array2<f32>,
        coefficients: Vec<f64>,
        rho: f64,
    ) -> Result<Self> {
        if let Kernel::Rbf { gamma } = kernel {
            Gamma::Value(gamma).check()?;
        }
        if vectors.is_empty() || vectors.nrows() != coefficients.len() {
            return Err(Error::Shape {
                what: "support vectors",
                wanted: format!(
                    "{} rows, as coefficients, of at least one feature",
                    coefficients.len().max(1)
                ),
                found: format!("{:?}", vectors.shape()),
            });
        }
        if let Some(bad) = coefficients.iter().find(|c| !(**c > 0.0 && **c <= 1.0)) {
            let expected = "more than 0 and at most 1".into();
            return Err(Error::Parameter {
                name: "coefficient of a support vector",
                found: bad.to_string(),
                expected,
            });
        }
        let standard = vectors.is_standard_layout();
        let vectors = if standard { vectors } else { vectors.as_standard_layout().into_owned() };
        let bad = vectors.as_slice().and_then(first_not_finite).or_else(|| (!rho.is_finite()).then_some(0));
        if let Some(index) = bad {
            return Err(Error::NotFinite { what: "support vectors", index });
        }
        let squares = vectors.rows().into_iter().map(|row| square(row.to_slice())).collect();
        Ok(Self { kernel, vectors, coefficients, rho, squares, n_steps: 0 })
    }

    /// The kernel, with the gamma found.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The samples that matter, `[n_support, n_features]`, in the order of the fit.
    pub fn support_vectors(&self) -> &Array2<f32> {
        &self.vectors
    }

    /// The multiplier of each support vector, in (0, 1]; their sum is `nu n`.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// What the sum over the support vectors reaches on the border between normal and anomalous.
    pub fn rho(&self) -> f64 {
        self.rho
    }

    /// Steps that the search took; 0 for a machine made from parts.
    pub fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// `sum_i a_i k(x_i, x) - rho`, as scikit-learn's `decision_function`: above 0 inside, **lower** is more anomalous.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if `row` has another length than the samples of the fit.
    pub fn decision(&self, row: &[f32]) -> Result<f64> {
        if row.len() != self.vectors.ncols() {
            return Err(self.wrong_width(row.len()));
        }
        let own = scalar_product(row, row);
        let kernels = self.vectors.rows().into_iter().zip(&self.squares).map(|(vector, &square)| {
            let vector = vector.to_slice().expect("support vectors are kept in the standard layout");
            self.kernel.of_products(scalar_product(row, vector), own, square)
        });
        let sum: f64 =
            kernels.zip(&self.coefficients).map(|(kernel, coefficient)| coefficient * kernel).sum();
        Ok(sum - self.rho)
    }

    /// The score of one image's features: [`decision`](Self::decision) with the sign changed, so that higher is more anomalous;
    /// above 0 where scikit-learn says -1. The RBF kernel's scores are at most `rho`, which is reached far from all samples.
    ///
    /// Infinite if a feature is not finite: that is a finding, not an error.
    ///
    /// # Errors
    ///
    /// As [`decision`](Self::decision).
    pub fn score_row(&self, row: &[f32]) -> Result<f32> {
        let decision = self.decision(row)?;
        Ok(if first_not_finite(row).is_some() { f32::INFINITY } else { -decision as f32 })
    }

    fn wrong_width(&self, found: usize) -> Error {
        Error::Shape {
            what: "features to score",
            wanted: format!("{} columns", self.vectors.ncols()),
            found: found.to_string(),
        }
    }
}

fn square(row: Option<&[f32]>) -> f64 {
    let row = row.expect("support vectors are kept in the standard layout");
    scalar_product(row, row)
}

impl Detector for OneClassSvm {
    fn n_features(&self) -> usize {
        self.vectors.ncols()
    }

    /// Scores as [`score_row`](OneClassSvm::score_row) does, rows in parallel.
    fn score(&self, features: ArrayView2<'_, f32>) -> Result<Array1<f32>> {
        if features.ncols() != self.vectors.ncols() {
            return Err(self.wrong_width(features.ncols()));
        }
        let features = features.as_standard_layout();
        let rows: Vec<&[f32]> = features.rows().into_iter().filter_map(|row| row.to_slice()).collect();
        Ok(rows.par_iter().map(|row| self.score_row(row)).collect::<Result<Vec<f32>>>()?.into())
    }
}

#[cfg(test)]
mod tests;
