//! `manifest.json`: every parameter, version and sum of an artefact.

use super::ARRAYS_FILE;
use super::error::{ArtefactError, ArtefactErrorKind};
use crate::extractor::sha256_of;
use crate::pipeline::{FitImages, Pipeline, PipelineParams, WeightsUsed};
use crate::traits::{Detector, ImageShape};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The version of the format; another is refused.
pub const FORMAT_VERSION: u32 = 2;
const FORMAT: &str = "anomalyd-artefact";
/// A manifest has a few kilobytes; a larger file is not read.
const MAX_BYTES: u64 = 1 << 20;
const NO_SUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

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

/// What is read first, so that another version is told from damage.
#[derive(Deserialize)]
struct Head {
    format: String,
    format_version: u64,
    sha256: String,
}

impl Manifest {
    pub(super) fn new(
        pipeline: &Pipeline,
        created: Option<String>,
        arrays_file: ArraysFile,
        arrays: Vec<ArrayRecord>,
    ) -> Self {
        Self {
            format: FORMAT.into(),
            format_version: FORMAT_VERSION,
            crate_version: env!("CARGO_PKG_VERSION").into(),
            created,
            params: pipeline.params.clone(),
            images: pipeline.images,
            image_shape: pipeline.extractor.image_shape(),
            feature_shape: pipeline.extractor.feature_shape(),
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
        let mut text = serde_json::to_string_pretty(&self).expect("a manifest is plain numbers and strings");
        text.push('\n');
        self.sha256 = sha256_of(text.as_bytes());
        let position = text.rfind(NO_SUM).expect("the zeros were just written");
        text.replace_range(position..position + NO_SUM.len(), &self.sha256);
        (self, text)
    }

    pub(super) fn read(path: &Path) -> Result<Self, ArtefactError> {
        let io = |error: std::io::Error| ArtefactError::io(path, &error);
        let corrupt = |message: String| ArtefactError::corrupt(path, message);
        let file = File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(corrupt(format!("has more than {MAX_BYTES} bytes, which no manifest has")));
        }
        let mut text = String::from_utf8(bytes).map_err(|_| corrupt("is not UTF-8".into()))?;
        let head: Head =
            serde_json::from_str(&text).map_err(|error| corrupt(format!("is no manifest: {error}")))?;
        if head.format != FORMAT {
            return Err(corrupt(format!("says its format is {:?}, expected {FORMAT:?}", head.format)));
        }
        if head.format_version != u64::from(FORMAT_VERSION) {
            let message = format!(
                "has format version {}, this program reads {FORMAT_VERSION}: use the program that wrote it, or fit again",
                head.format_version
            );
            return Err(ArtefactError::new(ArtefactErrorKind::Version, path, message));
        }
        let manifest: Self =
            serde_json::from_str(&text).map_err(|error| corrupt(format!("is no manifest: {error}")))?;
        let position = text.rfind(&head.sha256).filter(|_| head.sha256.len() == NO_SUM.len());
        let Some(position) = position else {
            return Err(corrupt(format!("its sha256 is {:?}, expected 64 hexadecimal digits", head.sha256)));
        };
        text.replace_range(position..position + NO_SUM.len(), NO_SUM);
        let found = sha256_of(text.as_bytes());
        if found != head.sha256 {
            return Err(corrupt(format!("has sha256 {found}, but says {}: it was changed", head.sha256)));
        }
        if manifest.arrays_file.name != ARRAYS_FILE {
            let message =
                format!("names the arrays {:?}, expected {ARRAYS_FILE:?}", manifest.arrays_file.name);
            return Err(corrupt(message));
        }
        Ok(manifest)
    }
}
