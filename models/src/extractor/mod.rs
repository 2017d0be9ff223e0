//! From images to features: HOG, which needs no weights, and ResNet-50.
//!
//! [`ExtractorParams`] says which extractor, as configuration files and artefacts write it;
//! [`build`](ExtractorParams::build) makes it for one image shape.

mod candle_network;
mod device;
mod hog;
mod joint;
pub mod kernels;
mod manifest;
mod random;
mod resnet;
mod source;
mod store;
mod weights;

pub use device::{DeviceChoice, GpuPrecision};
pub use hog::{Hog, HogParams};
pub use manifest::{Architecture, Manifest, Normalisation, Tap, Variant};
pub use random::random_resnet50;
pub use resnet::{ResNet, ResNetSpec};
pub(crate) use source::is_rounded;
pub use source::{ExtractorSource, OwnExtractors};
pub use store::WeightsStore;
pub use weights::sha256_of;

use crate::error::{Error, Result};
use crate::traits::{FeatureExtractor, ImageShape};
use ndarray::{ArrayView3, ArrayView4};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which extractor, with its parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum ExtractorParams {
    /// Histograms of oriented gradients; weight-free, and the default.
    Hog(HogParams),
    /// The convolutional part of ResNet-50.
    ResNet50(ResNet50Params),
}

/// Which weights of ResNet-50, and how deep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNet50Params {
    /// The name of a weights manifest.
    pub weights: String,
    /// The stage whose output is taken; later stages are neither loaded nor computed. Default `layer3`.
    #[serde(default)]
    pub tap: Tap,
}

impl Default for ExtractorParams {
    fn default() -> Self {
        Self::Hog(HogParams::default())
    }
}

impl ExtractorParams {
    /// Makes the extractor for images of `shape`.
    ///
    /// # Errors
    ///
    /// - [`Error::Parameter`] if a parameter is out of range or the device is not to be had.
    /// - [`Error::Shape`] if the shape has neither 1 nor 3 channels, or is too small.
    /// - [`Error::Weights`] if the weights are unknown, absent, damaged, not pinned to a checksum, or end before the tap.
    pub fn build(
        &self,
        shape: ImageShape,
        weights: &WeightsStore,
        device: &DeviceChoice,
    ) -> Result<Arc<dyn FeatureExtractor>> {
        Ok(match self {
            Self::Hog(params) => Arc::new(Hog::new(params, shape)?),
            Self::ResNet50(params) => {
                let (manifest, bytes) = weights.load(&params.weights)?;
                Arc::new(ResNet::new(&manifest.name, &bytes, &manifest.spec(), params.tap, shape, device)?)
            }
        })
    }

    /// The [arithmetic](FeatureExtractor::arithmetic) of the extractor that this process would make for `device`.
    pub fn arithmetic(&self, device: DeviceChoice) -> &'static str {
        match self {
            Self::Hog(_) => "f32",
            Self::ResNet50(_) => device.arithmetic(),
        }
    }

    /// The name of the weights it needs; `None` if it needs none.
    pub fn weights_name(&self) -> Option<&str> {
        match self {
            Self::Hog(_) => None,
            Self::ResNet50(params) => Some(&params.weights),
        }
    }
}

/// Refuses shapes no extractor can take.
fn check_shape(shape: ImageShape) -> Result<()> {
    if !matches!(shape.channels, 1 | 3) || shape.rows == 0 || shape.columns == 0 {
        return Err(Error::Shape {
            what: "image shape",
            wanted: "[1 or 3 channels, 1 row or more, 1 column or more]".into(),
            found: format!("{:?}", [shape.channels, shape.rows, shape.columns]),
        });
    }
    Ok(())
}

/// Refuses images of another shape than the extractor was made for, as each extractor does.
///
/// - `images`: `[n, channels, rows, columns]`.
///
/// # Errors
///
/// [`Error::Shape`].
pub fn check_images(images: &ArrayView4<'_, f32>, shape: ImageShape) -> Result<()> {
    let found = images.shape();
    if found[1..] != [shape.channels, shape.rows, shape.columns] {
        return Err(Error::Shape {
            what: "images",
            wanted: format!("[n, {}, {}, {}]", shape.channels, shape.rows, shape.columns),
            found: format!("{found:?}"),
        });
    }
    Ok(())
}

/// Refuses a decoded image of another shape; a single channel stands for all.
fn check_levels(levels: &ArrayView3<'_, u8>, shape: ImageShape) -> Result<()> {
    let (rows, columns, channels) = levels.dim();
    if [rows, columns] != [shape.rows, shape.columns] || (channels != shape.channels && channels != 1) {
        return Err(Error::Shape {
            what: "decoded image",
            wanted: format!("[{}, {}, {} or 1]", shape.rows, shape.columns, shape.channels),
            found: format!("{:?}", levels.shape()),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_chosen_by_name() {
        let hog: ExtractorParams = serde_json::from_str(r#"{"name": "hog", "cells": 6}"#).unwrap();
        assert_eq!(hog, ExtractorParams::Hog(HogParams { cells: 6, ..HogParams::default() }));
        let text = r#"{"name": "resnet50", "weights": "w", "tap": "layer2"}"#;
        let resnet: ExtractorParams = serde_json::from_str(text).unwrap();
        let wanted = ExtractorParams::ResNet50(ResNet50Params { weights: "w".into(), tap: Tap::Layer2 });
        assert_eq!(resnet, wanted);
        assert_eq!(resnet.weights_name(), Some("w"));
        let written = serde_json::to_string(&resnet).unwrap();
        assert_eq!(serde_json::from_str::<ExtractorParams>(&written).unwrap(), resnet);
        for wrong in [r#"{"name": "sift"}"#, r#"{"name": "hog", "cell": 6}"#, r#"{"name": "resnet50"}"#] {
            assert!(serde_json::from_str::<ExtractorParams>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_weights_are_refused_with_the_known_names() {
        let params =
            ExtractorParams::ResNet50(ResNet50Params { weights: "resnet51".into(), tap: Tap::Layer3 });
        let shape = ImageShape { channels: 3, rows: 32, columns: 32 };
        let error =
            params.build(shape, &WeightsStore::default(), &DeviceChoice::Cpu).err().unwrap().to_string();
        assert!(error.contains("resnet51") && error.contains("resnet50-v1-keras"), "{error}");
    }

    #[test]
    fn images_of_another_shape_are_refused() {
        let shape = ImageShape { channels: 1, rows: 24, columns: 36 };
        let hog =
            ExtractorParams::default().build(shape, &WeightsStore::default(), &DeviceChoice::Cpu).unwrap();
        assert!(hog.extract(ndarray::Array4::zeros((2, 1, 24, 36)).view()).is_ok());
        for wrong in [(2, 3, 24, 36), (2, 1, 36, 24), (1, 1, 24, 37)] {
            let error = hog.extract(ndarray::Array4::zeros(wrong).view()).unwrap_err().to_string();
            assert!(error.contains("[n, 1, 24, 36]"), "{error}");
        }
        let two = ImageShape { channels: 2, ..shape };
        assert!(ExtractorParams::default().build(two, &WeightsStore::default(), &DeviceChoice::Cpu).is_err());
    }

    #[test]
    fn decoded_images_give_the_features_of_their_planes() {
        let levels = ndarray::Array3::from_shape_fn((24, 36, 1), |(y, x, _)| (y * x * 7 % 256) as u8);
        let planes = levels.view().permuted_axes([2, 0, 1]).mapv(f32::from);
        let shape = |channels| ImageShape { channels, rows: 24, columns: 36 };
        for channels in [1, 3] {
            let hog = ExtractorParams::default();
            let hog = hog.build(shape(channels), &WeightsStore::default(), &DeviceChoice::Cpu).unwrap();
            let planes = planes.broadcast((1, channels, 24, 36)).unwrap();
            let wanted: Vec<f32> = hog.extract(planes).unwrap().into_iter().collect();
            assert_eq!(hog.extract_levels(levels.view()).unwrap(), wanted);
            assert!(hog.extract_levels(levels.slice(ndarray::s![1.., .., ..])).is_err());
        }
    }
}
