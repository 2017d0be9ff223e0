//! The fitted models on disk: one artefact directory each, read at the start and again when told to.

use crate::fault::{Fault, escaped};
use anomalyd_models::artefact::{Artefact, MANIFEST_FILE};
use anomalyd_models::extractor::{DeviceChoice, ExtractorParams, WeightsStore};
use anomalyd_models::pipeline::Pipeline;
use anomalyd_proto::Status;
use anyhow::Context;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The models in use.
pub struct ModelsStore {
    dir: Option<PathBuf>,
    default: Option<String>,
    weights: Arc<WeightsStore>,
    device: DeviceChoice,
    models: RwLock<Models>,
    /// Held while the disk is read, so that two reloads do not overtake each other.
    reading: Mutex<()>,
}

type Models = BTreeMap<String, Arc<Model>>;

/// A fitted model.
#[derive(Debug)]
pub struct Model {
    /// The name of its directory.
    pub name: String,
    artefact: Artefact,
}

impl Model {
    /// What judges.
    pub fn pipeline(&self) -> &Pipeline {
        self.artefact.pipeline()
    }

    /// The sum by which the artefact can be told.
    pub fn sha256(&self) -> &str {
        &self.artefact.manifest().sha256
    }
}

/// What `MODELS` tells of a model, PROTOCOL.md 6.6.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelSummary {
    /// Its name.
    pub name: String,
    /// `hog` or `resnet50`.
    pub extractor: &'static str,
    /// `isolation_forest`, `extended_forest` or `one_class_svm`.
    pub detector: &'static str,
    /// The artefact's sum.
    pub sha256: String,
    /// The arithmetic of its features here.
    pub arithmetic: &'static str,
    /// A higher score is anomalous.
    pub threshold: f32,
}

impl ModelsStore {
    /// Reads the models in `dir`; none if there is no directory.
    ///
    /// # Errors
    ///
    /// A directory or a model that cannot be read, or a default that is not among the models.
    pub fn open(
        dir: Option<PathBuf>,
        default: Option<String>,
        weights: Arc<WeightsStore>,
        device: DeviceChoice,
    ) -> anyhow::Result<Self> {
        let mut models = Models::new();
        if let Some(dir) = &dir {
            for (name, path) in
                artefacts(dir).with_context(|| format!("models.models_dir {}", dir.display()))?
            {
                let model = load(&name, &path, &weights, device).with_context(|| format!("model {name}"))?;
                tracing::info!(model = name, sha256 = model.sha256(), "a model was loaded");
                models.insert(name, model);
            }
        }
        if let Some(name) = &default {
            let known = || models.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            anyhow::ensure!(
                models.contains_key(name),
                "models.default is {name}, expected one of the models there are: {}",
                known()
            );
        }
        Ok(Self { dir, default, weights, device, models: RwLock::new(models), reading: Mutex::default() })
    }

    fn current(&self) -> Models {
        self.models.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Name and facts of each model, by name.
    pub fn summaries(&self) -> Vec<ModelSummary> {
        let summary = |model: &Arc<Model>| ModelSummary {
            name: model.name.clone(),
            extractor: match model.pipeline().params().extractor {
                ExtractorParams::Hog(_) => "hog",
                ExtractorParams::ResNet50(_) => "resnet50",
            },
            detector: model.pipeline().params().detector.name(),
            sha256: model.sha256().to_owned(),
            arithmetic: model.pipeline().extractor().arithmetic(),
            threshold: model.pipeline().threshold().value(),
        };
        self.current().values().map(summary).collect()
    }

    /// The model of this name; without a name the configured one, or the only one there is.
    ///
    /// # Errors
    ///
    /// A [`Fault`] with status 404.
    pub fn find(&self, name: Option<&str>) -> Result<Arc<Model>, Fault> {
        let models = self.current();
        let known = || models.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let not_found = |text: String| Fault::new(Status::NotFound, text);
        match name.or(self.default.as_deref()) {
            Some(name) => models.get(name).cloned().ok_or_else(|| {
                not_found(format!("no model {}, there are: {}", escaped(name.as_bytes()), known()))
            }),
            None if models.is_empty() => {
                Err(not_found("a request without a run is judged by a fitted model, and there is none: name a run, or set models.models_dir".into()))
            }
            None if models.len() == 1 => models.into_values().next().ok_or_else(|| not_found("no model".into())),
            None => Err(not_found(format!("several models ({}): name one with the option model, or set models.default", known()))),
        }
    }

    /// Reads the models again. One that cannot be read leaves the one in use as it was; one whose directory is gone goes.
    ///
    /// # Errors
    ///
    /// A [`Fault`] with status 500 that names what could not be read; the others are then in use all the same.
    pub fn reload(&self) -> Result<String, Fault> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(dir) = &self.dir else { return Ok("no models: models.models_dir is not set".into()) };
        let found = artefacts(dir).map_err(|error| {
            Fault::new(Status::Internal, format!("models.models_dir {}: {error}", dir.display()))
        })?;
        let before = self.current();
        let mut models = Models::new();
        let mut failures = Vec::new();
        for (name, path) in found {
            match load(&name, &path, &self.weights, self.device) {
                Ok(model) => drop(models.insert(name, model)),
                Err(error) => {
                    failures.push(format!("{name}: {error}"));
                    models.extend(
                        before.get_key_value(&name).map(|(name, model)| (name.clone(), Arc::clone(model))),
                    );
                }
            }
        }
        let names = models.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let n_models = models.len();
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = models;
        if failures.is_empty() {
            Ok(format!("{n_models} models: {names}"))
        } else {
            Err(Fault::new(
                Status::Internal,
                format!("not read, and left as it was: {}; in use: {names}", failures.join("; ")),
            ))
        }
    }
}

/// Name and directory of each artefact in `dir`.
fn artefacts(dir: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        // Hidden ones are still being written.
        if !name.starts_with('.') && path.join(MANIFEST_FILE).is_file() {
            found.push((name.to_owned(), path.clone()));
        }
    }
    found.sort();
    Ok(found)
}

fn load(
    name: &str,
    path: &Path,
    weights: &WeightsStore,
    device: DeviceChoice,
) -> anomalyd_models::Result<Arc<Model>> {
    let artefact = Artefact::load(path, weights, &device)?;
    if let Some(words) = artefact.other_arithmetic() {
        tracing::warn!(model = name, "{words}");
    }
    Ok(Arc::new(Model { name: name.to_owned(), artefact }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyd_models::calibration::CalibrationParams;
    use anomalyd_models::detector::{DetectorParams, IsolationForestParams};
    use anomalyd_models::image::Decoded;
    use anomalyd_models::pipeline::PipelineParams;
    use ndarray::Array3;

    fn fit(dir: &Path, seed: u64) {
        let params = PipelineParams {
            seed,
            detector: DetectorParams::IsolationForest(IsolationForestParams {
                n_trees: 5,
                ..Default::default()
            }),
            calibration: CalibrationParams::Fixed { value: 0.5 },
            ..PipelineParams::default()
        };
        let images = (0..4usize).map(|step| {
            let pixels =
                Array3::from_shape_fn((32, 32, 1), |(row, column, _)| (row * step + column * 5) as u8);
            Ok(Decoded { pixels, format: "png" })
        });
        let weights = WeightsStore::default();
        let pipeline = Pipeline::fit(&params, images, &weights, &DeviceChoice::Cpu, &mut |_| {}).unwrap();
        Artefact::save(pipeline, dir, None).unwrap();
    }

    fn open(dir: &Path, default: Option<&str>) -> anyhow::Result<ModelsStore> {
        ModelsStore::open(Some(dir.to_owned()), default.map(str::to_owned), Arc::default(), DeviceChoice::Cpu)
    }

    #[test]
    fn model_is_found_by_name_by_default_or_by_being_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        fit(&dir.path().join("a"), 1);
        let store = open(dir.path(), None).unwrap();
        assert_eq!(store.find(None).unwrap().name, "a");
        assert_eq!(store.find(Some("b")).unwrap_err().status, Status::NotFound);
        fit(&dir.path().join("b"), 2);
        store.reload().unwrap();
        assert!(store.find(None).unwrap_err().text.contains("several models (a, b)"));
        assert_eq!(open(dir.path(), Some("b")).unwrap().find(None).unwrap().name, "b");
        assert!(open(dir.path(), Some("c")).err().unwrap().to_string().contains("a, b"));
        assert_eq!(store.summaries().iter().map(|model| model.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn model_that_cannot_be_read_again_stays_in_use_and_one_that_is_gone_goes() {
        let dir = tempfile::tempdir().unwrap();
        fit(&dir.path().join("a"), 1);
        fit(&dir.path().join("b"), 2);
        let store = open(dir.path(), None).unwrap();
        let before = store.find(Some("a")).unwrap().sha256().to_owned();
        std::fs::write(dir.path().join("a").join(MANIFEST_FILE), "{").unwrap();
        std::fs::remove_dir_all(dir.path().join("b")).unwrap();
        let fault = store.reload().unwrap_err();
        assert_eq!(fault.status, Status::Internal);
        assert!(fault.text.contains("left as it was: a: "), "{}", fault.text);
        assert_eq!(store.find(Some("a")).unwrap().sha256(), before);
        assert!(store.find(Some("b")).is_err());
    }

    #[test]
    fn daemon_without_models_says_what_to_do() {
        let store = ModelsStore::open(None, None, Arc::default(), DeviceChoice::Cpu).unwrap();
        assert!(store.find(None).unwrap_err().text.contains("models.models_dir"));
        assert!(store.reload().unwrap().starts_with("no models"));
    }
}
