//! A fitted pipeline on disk: a directory with `manifest.json`, which says all there is to know of it, and
//! `arrays.safetensors`, which holds the numbers.
//!
//! No type of this program is stored: whoever reads safetensors and JSON can use an artefact. Nothing in it is executed,
//! and nothing is believed before its SHA-256 has been compared. The sums protect against damage and mix-ups, not against
//! someone who rewrites them.

mod arrays;
mod detector;
mod error;
mod manifest;
pub(crate) mod sealed;

pub use error::{ArtefactError, ArtefactErrorKind};
pub use manifest::{ArrayRecord, ArraysFile, FORMAT_VERSION, Manifest};

use crate::Result;
use crate::calibration::Threshold;
use crate::extractor::{DeviceChoice, WeightsStore, is_rounded};
use crate::pipeline::{Pipeline, WeightsUsed};
use crate::transform::{Pca, Scaler};
use arrays::{Array, Loaded, Values};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file that says what an artefact is.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The file that holds its numbers.
pub const ARRAYS_FILE: &str = "arrays.safetensors";

/// A fitted pipeline, and what is known of it.
#[derive(Debug)]
pub struct Artefact {
    pipeline: Pipeline,
    manifest: Manifest,
}

impl Artefact {
    /// Writes a pipeline to a new directory and returns it as an artefact.
    ///
    /// The directory appears whole or not at all: it is written beside its place under a hidden name, and renamed.
    ///
    /// - `dir`: must not exist, or be empty; its parent must exist.
    /// - `created`: when the fit was made, in words of the caller's choice (ISO 8601 is customary); this crate knows no
    ///   clock.
    ///
    /// # Errors
    ///
    /// [`Error::Artefact`](crate::Error::Artefact) of kind `Exists` or `Io`.
    pub fn save(pipeline: Pipeline, dir: &Path, created: Option<String>) -> Result<Self> {
        if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) || dir.is_file() {
            let message = "is there already; choose another directory, or remove it";
            return Err(ArtefactError::new(ArtefactErrorKind::Exists, dir, message).into());
        }
        let part = part_of(dir)?;
        let written = write(&pipeline, &part, created).and_then(|manifest| {
            fs::rename(&part, dir).map_err(|error| ArtefactError::io(dir, &error))?;
            Ok(manifest)
        });
        match written {
            Ok(manifest) => Ok(Self { pipeline, manifest }),
            Err(error) => {
                // What matters is why it failed; a part left behind is hidden and harmless.
                let _ = fs::remove_dir_all(&part);
                Err(error.into())
            }
        }
    }

    /// Reads an artefact and checks everything in it.
    ///
    /// The extractor's weights come from `weights` and must be those of the fit, by name and SHA-256.
    ///
    /// # Errors
    ///
    /// - [`Error::Artefact`](crate::Error::Artefact): `NotFound`, `Io`, `Corrupt`, `Version`, or `Mismatch`, with the file; `Mismatch` also where
    ///   the features of the fit were of bf16 and the device's are not, or the other way round.
    /// - [`Error::Weights`](crate::Error::Weights) if the weights are not to be had.
    /// - [`Error::Parameter`](crate::Error::Parameter) if the device is not to be had.
    pub fn load(dir: &Path, weights: &WeightsStore, device: &DeviceChoice) -> Result<Self> {
        let manifest = Manifest::read(&dir.join(MANIFEST_FILE))?;
        let path = dir.join(ARRAYS_FILE);
        let mut loaded = arrays::read(&path, &manifest.arrays_file, &manifest.arrays)?;
        let refuse = |kind, message: String| ArtefactError::new(kind, &path, message);

        manifest.params.check().map_err(|error| {
            ArtefactError::new(ArtefactErrorKind::Corrupt, &dir.join(MANIFEST_FILE), error.to_string())
        })?;
        let used = WeightsUsed::find(&manifest.params.extractor, weights)?;
        if used != manifest.weights {
            let [wanted, found] = [&manifest.weights, &used].map(|w| {
                w.as_ref().map_or("none".into(), |w| format!("{} with sha256 {}", w.name, w.sha256))
            });
            return Err(refuse(
                ArtefactErrorKind::Mismatch,
                format!(
                    "was fitted with the weights {wanted}; found {found}: use those weights, or fit again"
                ),
            )
            .into());
        }
        let [rows, columns] = manifest.images.file_size;
        let shape = manifest.params.preprocess.shape(rows, columns)?;
        let extractor = manifest.params.extractor.build(shape, weights, device)?;
        let found = (extractor.image_shape(), extractor.feature_shape());
        if found != (manifest.image_shape, manifest.feature_shape) {
            let wanted = (manifest.image_shape, manifest.feature_shape);
            let message =
                format!("was fitted on images and features of {wanted:?}; this program gives {found:?}");
            return Err(refuse(ArtefactErrorKind::Mismatch, message).into());
        }
        let arithmetic =
            [manifest.arithmetic.as_deref().unwrap_or(extractor.arithmetic()), extractor.arithmetic()];
        if arithmetic[0] != arithmetic[1] && arithmetic.into_iter().any(is_rounded) {
            let [wanted, found] = arithmetic;
            let message = format!(
                "was fitted on features in {wanted}; the device {device} gives them in {found}: choose the device of the fit, or fit again"
            );
            return Err(refuse(ArtefactErrorKind::Mismatch, message).into());
        }
        let corrupt = |error: crate::Error| refuse(ArtefactErrorKind::Corrupt, error.to_string());
        let pipeline = Pipeline {
            scaler: load_scaler(&manifest, &mut loaded, &path)?,
            pca: load_pca(&manifest, &mut loaded, &path)?,
            detector: detector::load(&manifest, &mut loaded, &path)?,
            threshold: load_threshold(&manifest, &mut loaded, &path)?,
            params: manifest.params.clone(),
            images: manifest.images,
            weights: manifest.weights.clone(),
            extractor,
        };
        loaded.finish(&path)?;
        pipeline.check_parts().map_err(corrupt)?;
        Ok(Self { pipeline, manifest })
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// In words, if features are now computed with other roundings than those of the fit: f32 itself, or as three products of bf16. Verdicts
    /// close to the threshold may differ.
    pub fn other_arithmetic(&self) -> Option<String> {
        let (fitted, here) = (self.manifest.arithmetic.as_deref()?, self.pipeline.extractor.arithmetic());
        (fitted != here).then(|| {
            format!(
                "fitted on features in {fitted}, judges features in {here}: the device cpu:f32 is the same on every processor"
            )
        })
    }

    /// What the artefact says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

/// Where an artefact is written before it is renamed: beside its place, so on the same file system.
fn part_of(dir: &Path) -> Result<PathBuf, ArtefactError> {
    let Some(name) = dir.file_name() else {
        return Err(ArtefactError::new(ArtefactErrorKind::Io, dir, "is no name of a directory"));
    };
    let mut part = std::ffi::OsString::from(".");
    part.push(name);
    part.push(format!(".part-{}", std::process::id()));
    Ok(dir.with_file_name(part))
}

fn write(pipeline: &Pipeline, dir: &Path, created: Option<String>) -> Result<Manifest, ArtefactError> {
    let io = |path: &Path, error: std::io::Error| ArtefactError::io(path, &error);
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(dir, error)),
        _ => fs::create_dir(dir).map_err(|error| io(dir, error))?,
    }
    let path = dir.join(ARRAYS_FILE);
    let (arrays_file, records) =
        arrays::write(&path, &arrays_of(pipeline)).map_err(|error| io(&path, error))?;
    let manifest = Manifest::new(pipeline, created, arrays_file, records);
    let path = dir.join(MANIFEST_FILE);
    let save = |text: &str| {
        let mut file = File::create(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        File::open(dir)?.sync_all()
    };
    let (manifest, text) = manifest.seal();
    save(&text).map_err(|error| io(&path, error))?;
    Ok(manifest)
}

fn arrays_of(pipeline: &Pipeline) -> Vec<Array<'_>> {
    let mut arrays = Vec::new();
    let mut add = |name, values| arrays.push(Array::flat(name, values));
    if let Some(scaler) = &pipeline.scaler {
        add("scaler.mean", Values::F32(scaler.mean().into()));
        add("scaler.scale", Values::F32(scaler.scale().into()));
    }
    if let Some(pca) = &pipeline.pca {
        add("pca.mean", Values::F32(pca.mean().into()));
        add("pca.explained_variance", Values::F64(pca.explained_variance().into()));
        add("pca.total_variance", Values::F64(vec![pca.total_variance()].into()));
    }
    add("threshold.value", Values::F32(vec![pipeline.threshold.value()].into()));
    add("threshold.scores", Values::F32(pipeline.threshold.scores().into()));
    arrays.extend(detector::arrays_of(&pipeline.detector));
    if let Some(pca) = &pipeline.pca {
        let components = pca.components();
        let values = components.as_slice().expect("components are kept in the standard layout");
        let shape = components.shape().to_vec();
        arrays.push(Array { name: "pca.components", shape, values: Values::F32(values.into()) });
    }
    arrays
}

fn load_scaler(
    manifest: &Manifest,
    loaded: &mut Loaded,
    path: &Path,
) -> Result<Option<Scaler>, ArtefactError> {
    if !manifest.params.scale {
        return Ok(None);
    }
    let scaler = Scaler::from_parts(loaded.f32s("scaler.mean", path)?, loaded.f32s("scaler.scale", path)?);
    scaler.map(Some).map_err(|error| ArtefactError::corrupt(path, error))
}

fn load_pca(manifest: &Manifest, loaded: &mut Loaded, path: &Path) -> Result<Option<Pca>, ArtefactError> {
    if manifest.params.n_components.is_none() {
        return Ok(None);
    }
    let components = loaded.matrix("pca.components", path)?;
    let mean = loaded.f32s("pca.mean", path)?;
    let variance = loaded.f64s("pca.explained_variance", path)?;
    let total = loaded.f64s("pca.total_variance", path)?;
    let &[total] = total.as_slice() else {
        return Err(ArtefactError::corrupt(path, "pca.total_variance is not one number"));
    };
    let pca = Pca::from_parts(mean, components, variance, total);
    pca.map(Some).map_err(|error| ArtefactError::corrupt(path, error))
}

fn load_threshold(manifest: &Manifest, loaded: &mut Loaded, path: &Path) -> Result<Threshold, ArtefactError> {
    let value = loaded.f32s("threshold.value", path)?;
    let scores = loaded.f32s("threshold.scores", path)?;
    let &[value] = value.as_slice() else {
        return Err(ArtefactError::corrupt(path, "threshold.value is not one number"));
    };
    let rate = match manifest.params.calibration {
        crate::calibration::CalibrationParams::HeldOut { false_alarm_rate, .. } => Some(false_alarm_rate),
        _ => None,
    };
    Threshold::from_parts(value, rate, &scores).map_err(|error| ArtefactError::corrupt(path, error))
}

#[cfg(test)]
mod tests;
