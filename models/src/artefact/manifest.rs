//! `manifest.json`: every parameter, version and sum of an artefact.

use super::ARRAYS_FILE;
use super::error::ArtefactError;
use super::sealed::{Form, NO_SUM, seal};
use crate::pipeline::{FitImages, Pipeline, PipelineParams, WeightsUsed};
use crate::traits::{Detector, ImageShape};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The version of the format; another is refused.
pub const FORMAT_VERSION: u32 = 2;
const FORM: Form = Form {
    format: "anomalyd-artefact",
    version: FORMAT_VERSION,
    max_bytes: 1 << 20,
    noun: "manifest",
    remake: "fit again",
};

/// What an artefact says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `anomalyd-artefact`.
    pub format: String,
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The version of this crate that fitted it; for information.
    pub crate_version: String,
    /// When it was fitted, in the words of whoever did.
    pub created: Option<String>,
    /// Every parameter of the fit, the seed among them.
    pub params: PipelineParams,
    /// The images of the fit.
    pub images: FitImages,
    /// The shape the extractor was built for.
    pub image_shape: ImageShape,
    /// The shape of its feature map.
    pub feature_shape: [usize; 3],
    /// The arithmetic of the features, [`FeatureExtractor::arithmetic`](crate::FeatureExtractor::arithmetic); absent in artefacts that were
    /// written before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arithmetic: Option<String>,
    /// Features that the detector sees.
    pub n_detector_features: usize,
    /// Rows that each tree was grown on; `None` for a detector without trees.
    pub forest_sample_size: Option<usize>,
    /// The weights of the extractor, if it has any.
    pub weights: Option<WeightsUsed>,
    /// The file of arrays.
    pub arrays_file: ArraysFile,
    /// The arrays in it, in the file's order.
    pub arrays: Vec<ArrayRecord>,
    /// SHA-256 of this manifest as written, with 64 zeros in this place: the name by which an artefact can be told.
    pub sha256: String,
}

/// The file of arrays, as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArraysFile {
    /// Its name in the directory.
    pub name: String,
    /// Its length in bytes.
    pub n_bytes: u64,
    /// SHA-256 of all of it, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// One array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArrayRecord {
    /// Its name.
    pub name: String,
    /// `F32`, `F64` or `U32`, as safetensors writes them.
    pub dtype: String,
    /// Its shape, slowest first.
    pub shape: Vec<usize>,
    /// SHA-256 of its bytes, little-endian.
    pub sha256: String,
}

impl Manifest {
    pub(super) fn new(
        pipeline: &Pipeline,
        created: Option<String>,
        arrays_file: ArraysFile,
        arrays: Vec<ArrayRecord>,
    ) -> Self {
        Self {
            format: FORM.format.into(),
            format_version: FORMAT_VERSION,
            crate_version: env!("CARGO_PKG_VERSION").into(),
            created,
            params: pipeline.params.clone(),
            images: pipeline.images,
            image_shape: pipeline.extractor.image_shape(),
            feature_shape: pipeline.extractor.feature_shape(),
            arithmetic: Some(pipeline.extractor.arithmetic().into()),
            n_detector_features: pipeline.detector.n_features(),
            forest_sample_size: super::detector::sample_size(&pipeline.detector),
            weights: pipeline.weights.clone(),
            arrays_file,
            arrays,
            sha256: NO_SUM.into(),
        }
    }

    /// Sets the sum over the manifest itself; returns its text too.
    pub(super) fn seal(mut self) -> (Self, String) {
        self.sha256 = NO_SUM.into();
        let (text, sum) = seal(&self);
        self.sha256 = sum;
        (self, text)
    }

    pub(super) fn read(path: &Path) -> Result<Self, ArtefactError> {
        let text = FORM.read(path)?;
        let manifest: Self = FORM.parse(path, &text)?;
        if manifest.arrays_file.name != ARRAYS_FILE {
            let message =
                format!("names the arrays {:?}, expected {ARRAYS_FILE:?}", manifest.arrays_file.name);
            return Err(ArtefactError::corrupt(path, message));
        }
        Ok(manifest)
    }
}
