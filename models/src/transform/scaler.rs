//! Standard scores: every feature with mean 0 and standard deviation 1 over the samples of the fit.

use super::{BLOCK, wrong_width};
use crate::finite::{first_not_finite, overflow_of};
use crate::traits::{Fit, Transform};
use crate::{Error, Result};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

/// Subtracts the mean of each feature and divides by its standard deviation.
///
/// The divisor of the variance is n, as in scikit-learn's `StandardScaler`; a feature that is constant over the samples is
/// divided by 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaler {
    mean: Vec<f32>,
    scale: Vec<f32>,
}

/// A fit of a [`Scaler`] that takes one row after the other and keeps none.
///
/// Mean and variance are updated in f64 by Welford's method (Technometrics 4, 1962), each feature in the order of the
/// rows, so the number of threads does not matter.
#[derive(Debug, Clone, Default)]
pub struct ScalerFit {
    n_rows: usize,
    mean: Vec<f64>,
    /// Sums of squared deviations from the mean.
    squares: Vec<f64>,
}

impl ScalerFit {
    /// A fit without a row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row; the first sets the number of features.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for another length than the first; [`Error::NotFinite`] for NaN or infinity, with the position in
    /// all rows so far. The fit is then as before.
    pub fn add(&mut self, row: &[f32]) -> Result<()> {
        if self.n_rows == 0 {
            self.mean = vec![0.0; row.len()];
            self.squares = vec![0.0; row.len()];
        }
        if row.len() != self.mean.len() {
            return Err(wrong_width("row to fit a scaler on", self.mean.len(), row.len()));
        }
        if let Some(column) = first_not_finite(row) {
            return Err(Error::NotFinite { what: "samples", index: self.n_rows * row.len() + column });
        }
        self.n_rows += 1;
        let weight = 1.0 / self.n_rows as f64;
        (row.par_chunks(BLOCK), self.mean.par_chunks_mut(BLOCK), self.squares.par_chunks_mut(BLOCK))
            .into_par_iter()
            .for_each(|(row, means, squares)| {
                for ((&value, mean), squares) in row.iter().zip(means).zip(squares) {
                    let deviation = f64::from(value) - *mean;
                    *mean += deviation * weight;
                    *squares += deviation * (f64::from(value) - *mean);
                }
            });
        Ok(())
    }

    /// The scaler of all rows added.
    ///
    /// # Errors
    ///
    /// [`Error::TooFewSamples`] if there was none.
    pub fn finish(self) -> Result<Scaler> {
        if self.n_rows == 0 {
            return Err(Error::TooFewSamples { what: "scaler", wanted: 1, found: 0 });
        }
        let n = self.n_rows as f64;
        let scale = self.mean.iter().zip(&self.squares).map(|(&mean, squares)| {
            let variance = squares / n;
            // What rounding leaves of a constant feature (scikit-learn's `_is_constant_feature`).
            let rounding = n * f64::EPSILON * variance + (n * mean * f64::EPSILON).powi(2);
            let scale = variance.sqrt() as f32;
            // A deviation below the smallest f32 would divide by zero.
            if variance <= rounding || scale == 0.0 { 1.0 } else { scale }
        });
        let scale = scale.collect();
        Ok(Scaler { mean: self.mean.into_iter().map(|mean| mean as f32).collect(), scale })
    }
}

/// The parameters of a [`Scaler`]: there are none.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScalerParams;

impl Fit for ScalerParams {
    type Model = Scaler;

    /// Fits on `[n, n_features]`; the seed is not used.
    fn fit(&self, samples: ArrayView2<'_, f32>, _seed: u64) -> Result<Scaler> {
        let samples = samples.as_standard_layout();
        let mut fit = ScalerFit::new();
        samples.rows().into_iter().filter_map(|row| row.to_slice()).try_for_each(|row| fit.add(row))?;
        fit.finish()
    }
}

impl Scaler {
    /// A scaler from what [`mean`](Self::mean) and [`scale`](Self::scale) gave.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the lengths differ; [`Error::Parameter`] if a scale is not positive or a value not finite.
    pub fn from_parts(mean: Vec<f32>, scale: Vec<f32>) -> Result<Self> {
        if mean.len() != scale.len() {
            return Err(wrong_width("scale of a scaler", mean.len(), scale.len()));
        }
        if let Some(bad) = scale.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return Err(Error::Parameter {
                name: "scale",
                found: bad.to_string(),
                expected: "positive".into(),
            });
        }
        match first_not_finite(&mean) {
            Some(index) => Err(Error::NotFinite { what: "mean of a scaler", index }),
            None => Ok(Self { mean, scale }),
        }
    }

    /// The mean of each feature, `[n_features]`.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// What each feature is divided by, `[n_features]`: its standard deviation, or 1.
    pub fn scale(&self) -> &[f32] {
        &self.scale
    }

    /// Scales one row in place, and tells whether all its values are finite then: who writes them sees that for nothing, who reads them
    /// again takes longer than a forest.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if it has another length than the rows of the fit.
    pub fn scale_row(&self, row: &mut [f32]) -> Result<bool> {
        if row.len() != self.mean.len() {
            return Err(wrong_width("features to scale", self.mean.len(), row.len()));
        }
        let blocks = row.par_chunks_mut(BLOCK).enumerate();
        let finite = blocks.map(|(block, values)| self.scale_from(block * BLOCK, values));
        // All are scaled, whatever the first are.
        Ok(finite.reduce(|| true, |a, b| a & b))
    }

    /// Scales values that lie in columns from `first_column` on; whether all are finite then.
    pub(super) fn scale_from(&self, first_column: usize, values: &mut [f32]) -> bool {
        let (mean, scale) = (&self.mean[first_column..], &self.scale[first_column..]);
        let mut overflow = 0;
        for ((value, mean), scale) in values.iter_mut().zip(mean).zip(scale) {
            *value = (*value - mean) / scale;
            overflow |= overflow_of(*value);
        }
        overflow >> 31 == 0
    }
}

impl Transform for Scaler {
    fn n_inputs(&self) -> usize {
        self.mean.len()
    }

    fn n_outputs(&self) -> usize {
        self.mean.len()
    }

    fn transform(&self, features: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        let mut scaled = features.as_standard_layout().into_owned();
        for mut row in scaled.rows_mut() {
            self.scale_row(row.as_slice_mut().expect("rows of the standard layout are contiguous"))?;
        }
        Ok(scaled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use ndarray::array;

    #[test]
    fn standard_deviation_has_the_divisor_n_and_a_constant_feature_the_scale_1() {
        let samples = array![[1.0f32, 7.0, 0.1], [3.0, 7.0, 0.1], [5.0, 7.0, 0.1]];
        let scaler = ScalerParams.fit(samples.view(), 0).expect("fits");
        assert_eq!(scaler.mean(), [3.0, 7.0, 0.1]);
        assert_eq!(scaler.scale(), [(8f32 / 3.0).sqrt(), 1.0, 1.0]);
        let scaled = scaler.transform(samples.view()).expect("scales");
        assert_eq!(scaled.column(1).to_vec(), [0.0; 3]);
        assert!((scaled[[2, 0]] - 1.224_744_9).abs() < 1e-6);
    }

    #[test]
    fn scaled_samples_have_mean_0_and_variance_1_far_from_the_origin() {
        let mut rng = Rng::new(5);
        let samples = Array2::from_shape_simple_fn((500, 3), || 4096.0 + rng.normal() as f32);
        let scaled =
            ScalerParams.fit(samples.view(), 0).expect("fits").transform(samples.view()).expect("scales");
        for column in scaled.columns() {
            let mean = column.mean().expect("not empty");
            assert!(mean.abs() < 1e-3 && (column.var(0.0) - 1.0).abs() < 1e-3, "{mean} {}", column.var(0.0));
        }
    }

    #[test]
    fn fit_is_the_same_for_any_number_of_threads() {
        let mut rng = Rng::new(6);
        let samples = Array2::from_shape_simple_fn((7, 20_000), || rng.normal() as f32);
        let fit = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads");
            pool.install(|| ScalerParams.fit(samples.view(), 0)).expect("fits")
        };
        assert_eq!(fit(1), fit(3));
    }

    #[test]
    fn wrong_rows_are_refused_and_leave_the_fit_as_it_was() {
        let mut fit = ScalerFit::new();
        assert!(matches!(ScalerFit::new().finish(), Err(Error::TooFewSamples { .. })));
        fit.add(&[1.0, 2.0]).expect("first row");
        assert!(matches!(fit.add(&[1.0]), Err(Error::Shape { .. })));
        assert!(matches!(fit.add(&[1.0, f32::NAN]), Err(Error::NotFinite { index: 3, .. })));
        let scaler = fit.finish().expect("one row");
        assert_eq!(scaler.mean(), [1.0, 2.0]);
        assert!(scaler.transform(array![[1.0f32]].view()).is_err());
        assert!(Scaler::from_parts(vec![0.0], vec![0.0]).is_err());
        assert!(Scaler::from_parts(vec![f32::NAN], vec![1.0]).is_err());
        assert!(Scaler::from_parts(vec![0.0, 1.0], vec![1.0]).is_err());
    }

    #[test]
    fn row_that_is_scaled_is_known_to_be_finite_or_not() {
        let n = 3 * BLOCK + 7;
        let scaler = Scaler::from_parts(vec![1.0; n], vec![0.5; n]).expect("sound");
        let scale = |index: usize, value: f32| {
            let mut row = vec![2.0; n];
            row[index] = value;
            let is_finite = scaler.scale_row(&mut row).expect("scales");
            assert!(row.iter().enumerate().all(|(i, scaled)| i == index || *scaled == 2.0));
            is_finite
        };
        assert!(scale(0, 3.0));
        for index in [0, BLOCK - 1, BLOCK, n - 1] {
            assert!(!scale(index, f32::NAN) && !scale(index, f32::INFINITY));
            // Finite before, too great afterwards.
            assert!(!scale(index, f32::MAX));
        }
    }

    #[test]
    fn value_that_is_not_finite_stays_so() {
        let scaler = Scaler::from_parts(vec![1.0], vec![2.0]).expect("sound");
        let scaled = scaler.transform(array![[f32::INFINITY], [f32::NAN]].view()).expect("scales");
        assert!(scaled.iter().all(|v| !v.is_finite()));
    }
}
