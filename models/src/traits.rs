//! The few traits that the parts of a pipeline share.

use crate::error::Result;
use ndarray::{Array1, Array2, ArrayView2, ArrayView3, ArrayView4, Axis};
use serde::{Deserialize, Serialize};

/// The shape of one image as an extractor takes it: `[channels, rows, columns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageShape {
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Height in pixels, at least 1.
    pub rows: usize,
    /// Width in pixels, at least 1.
    pub columns: usize,
}

/// Turns images into features: one row of numbers an image.
///
/// An extractor is made for one image shape and refuses any other.
pub trait FeatureExtractor: Send + Sync {
    /// The image shape it was made for.
    fn image_shape(&self) -> ImageShape;

    /// The shape `[channels, rows, columns]` of the feature map of one image; features are in this order, row-major.
    fn feature_shape(&self) -> [usize; 3];

    /// The number of features of one image.
    fn n_features(&self) -> usize {
        self.feature_shape().iter().product()
    }

    /// The arithmetic of its features: `f32`, `bf16x3` (products of f32 as three of bf16), `bf16`, `f16` or `int8`. Features of one should not be judged by
    /// what was fitted on another's.
    fn arithmetic(&self) -> &'static str {
        "f32"
    }

    /// Extracts the features of `images`.
    ///
    /// - `images`: `[n, channels, rows, columns]`, grey levels in 0..=255, not normalised: each extractor normalises as its
    ///   weights want.
    ///
    /// Returns `[n, n_features]`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the images have another shape than [`image_shape`](Self::image_shape).
    fn extract(&self, images: ArrayView4<'_, f32>) -> Result<Array2<f32>>;

    /// Extracts the features of one image as it was decoded; the same, to the bit, as [`extract`](Self::extract) gives. An extractor
    /// that can reads the levels where they lie.
    ///
    /// - `levels`: `[rows, columns, channels]`, grey levels in 0..=255; a single channel stands for all.
    ///
    /// Returns `n_features` values.
    ///
    /// # Errors
    ///
    /// As [`extract`](Self::extract).
    fn extract_levels(&self, levels: ArrayView3<'_, u8>) -> Result<Vec<f32>> {
        let image = levels.permuted_axes([2, 0, 1]).mapv(f32::from);
        let repeated = match self.image_shape() {
            ImageShape { channels, rows, columns } if image.dim().0 == 1 => {
                image.broadcast((channels, rows, columns))
            }
            _ => None,
        };
        let image = repeated.unwrap_or(image.view());
        Ok(self.extract(image.insert_axis(Axis(0)))?.into_iter().collect())
    }
}

/// Maps features to other features: a scaler, a projection.
pub trait Transform: Send + Sync {
    /// The number of features it takes.
    fn n_inputs(&self) -> usize;

    /// The number of features it gives.
    fn n_outputs(&self) -> usize;

    /// Maps `[n, n_inputs]` to `[n, n_outputs]`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if `features` has another number of columns.
    fn transform(&self, features: ArrayView2<'_, f32>) -> Result<Array2<f32>>;
}

/// Scores features; a higher score is more anomalous.
pub trait Detector: Send + Sync {
    /// The number of features it was fitted on.
    fn n_features(&self) -> usize;

    /// Scores `[n, n_features]`; returns `[n]`, dimensionless, higher is more anomalous.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if `features` has another number of columns.
    fn score(&self, features: ArrayView2<'_, f32>) -> Result<Array1<f32>>;
}

/// Fits a model; implemented by its parameters, so that an unfitted model cannot be written down.
pub trait Fit {
    /// What fitting gives.
    type Model;

    /// Fits on `samples`, `[n, n_features]`; equal samples and an equal seed give an equal model, bit for bit, for any
    /// number of threads.
    ///
    /// # Errors
    ///
    /// [`Error::TooFewSamples`](crate::Error::TooFewSamples), [`Error::NotFinite`](crate::Error::NotFinite) or
    /// [`Error::Parameter`](crate::Error::Parameter), as each model says.
    fn fit(&self, samples: ArrayView2<'_, f32>, seed: u64) -> Result<Self::Model>;
}

#[cfg(test)]
mod tests {
    use super::*;

    // An artefact chooses its parts by name, so these must stay object-safe.
    #[test]
    fn parts_of_a_pipeline_are_object_safe_and_cross_threads() {
        fn crosses_threads<T: Send + Sync + ?Sized>() {}
        crosses_threads::<dyn FeatureExtractor>();
        crosses_threads::<dyn Transform>();
        crosses_threads::<dyn Detector>();
    }
}
