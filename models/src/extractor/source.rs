//! Where extractors come from: this process makes them, or others do the work for it.

use super::{DeviceChoice, ExtractorParams, WeightsStore};
use crate::error::Result;
use crate::traits::{FeatureExtractor, ImageShape};
use std::fmt::Debug;
use std::sync::Arc;

/// Gives the extractors that runs ask for.
///
/// Whoever computes the features, they are the same, bit for bit: those of [`ExtractorParams::build`].
pub trait ExtractorSource: Debug + Send + Sync {
    /// The extractor for images of `shape`.
    ///
    /// # Errors
    ///
    /// Those of [`ExtractorParams::build`].
    fn extractor(&self, params: &ExtractorParams, shape: ImageShape) -> Result<Arc<dyn FeatureExtractor>>;
}

/// Extractors that compute in this process.
#[derive(Debug, Clone, Default)]
pub struct OwnExtractors {
    /// Weights, for an extractor that needs them.
    pub weights: Arc<WeightsStore>,
    /// Where networks run.
    pub device: DeviceChoice,
}

impl ExtractorSource for OwnExtractors {
    fn extractor(&self, params: &ExtractorParams, shape: ImageShape) -> Result<Arc<dyn FeatureExtractor>> {
        params.build(shape, &self.weights, &self.device)
    }
}
