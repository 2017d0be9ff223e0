//! Extractors whose work the other ranks do.

use super::Ranks;
use super::job::{Answer, Job, Maker};
use anomalyd_models::extractor::{DeviceChoice, ExtractorParams, ExtractorSource, check_images};
use anomalyd_models::online::TreeKeepers;
use anomalyd_models::{Error, FeatureExtractor, ImageShape, Result};
use ndarray::{Array2, ArrayView4};
use std::path::PathBuf;
use std::sync::Arc;

/// Gives extractors whose images go to whichever rank is idle.
#[derive(Debug, Clone)]
pub struct SharedExtractors {
    ranks: Arc<Ranks>,
    weights_dirs: Vec<PathBuf>,
    device: DeviceChoice,
}

impl SharedExtractors {
    /// - `weights_dirs`: as every rank sees them.
    /// - `device`: of each rank.
    pub fn new(ranks: Arc<Ranks>, weights_dirs: Vec<PathBuf>, device: DeviceChoice) -> Self {
        Self { ranks, weights_dirs, device }
    }
}

impl ExtractorSource for SharedExtractors {
    fn extractor(&self, params: &ExtractorParams, shape: ImageShape) -> Result<Arc<dyn FeatureExtractor>> {
        let arithmetic = self.arithmetic(params);
        let by = Maker {
            params: params.clone(),
            shape,
            device: self.device,
            weights_dirs: self.weights_dirs.clone(),
            arithmetic: arithmetic.into(),
        };
        let (feature_shape, _) = extract(&self.ranks, &by, 0, Vec::new())?;
        Ok(Arc::new(SharedExtractor { ranks: Arc::clone(&self.ranks), by, feature_shape, arithmetic }))
    }

    fn arithmetic(&self, params: &ExtractorParams) -> &'static str {
        params.arithmetic(self.device)
    }

    fn tree_keepers(&self) -> Option<Arc<dyn TreeKeepers>> {
        Some(Arc::clone(&self.ranks) as Arc<dyn TreeKeepers>)
    }
}

/// An extractor that another rank computes.
struct SharedExtractor {
    ranks: Arc<Ranks>,
    by: Maker,
    feature_shape: [usize; 3],
    arithmetic: &'static str,
}

impl FeatureExtractor for SharedExtractor {
    fn image_shape(&self) -> ImageShape {
        self.by.shape
    }

    fn feature_shape(&self) -> [usize; 3] {
        self.feature_shape
    }

    fn arithmetic(&self) -> &'static str {
        self.arithmetic
    }

    fn extract(&self, images: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
        check_images(&images, self.by.shape)?;
        let n_images = images.shape()[0];
        let (_, features) = extract(&self.ranks, &self.by, n_images, images.iter().copied().collect())?;
        let found = features.len();
        Array2::from_shape_vec((n_images, self.n_features()), features).map_err(|_| Error::Shape {
            what: "features of another rank",
            wanted: format!("{n_images} x {}", self.n_features()),
            found: found.to_string(),
        })
    }
}

fn extract(ranks: &Ranks, by: &Maker, n_images: usize, values: Vec<f32>) -> Result<([usize; 3], Vec<f32>)> {
    match ranks.ask(&Job::Extract { by: by.clone(), n_images }, values)? {
        (Answer::Features { shape, .. }, features) => Ok((shape, features)),
        (other, _) => Err(other.unexpected()),
    }
}
