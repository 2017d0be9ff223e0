//! From an image to a verdict: preprocessing, extractor, scaler, projection, detector, threshold.

use crate::calibration::{CalibrationParams, Threshold};
use crate::detector::{DetectorParams, FittedDetector};
use crate::extractor::{DeviceChoice, ExtractorParams, WeightsStore};
use crate::finite::first_not_finite;
use crate::image::{Decoded, Preprocess};
use crate::importance_map::ImportanceMap;
use crate::sample_weights::SampleWeights;
use crate::traits::{Detector, FeatureExtractor, Transform};
use crate::transform::{Pca, PcaParams, Scaler, ScalerFit};
use crate::verdict::{Judgement, Label};
use crate::{Error, Result};
use ndarray::Axis;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Everything that decides what a fit gives; written to the artefact as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineParams {
    /// From which all randomness follows; at most 2^63 - 1 in TOML.
    pub seed: u64,
    /// Whether features are brought to mean 0 and standard deviation 1.
    pub scale: bool,
    /// Principal components kept, 1 to one less than the images of the fit; absent: the detector sees all features.
    pub n_components: Option<usize>,
    /// Crop, colour and reduction of images.
    pub preprocess: Preprocess,
    /// From images to features.
    pub extractor: ExtractorParams,
    /// What scores the features.
    pub detector: DetectorParams,
    /// How the threshold is found.
    pub calibration: CalibrationParams,
    /// How likely each image is drawn for a tree.
    #[serde(skip_serializing_if = "SampleWeights::is_equal")]
    pub sample_weights: SampleWeights,
}

impl Default for PipelineParams {
    fn default() -> Self {
        Self {
            seed: 0,
            scale: true,
            n_components: None,
            preprocess: Preprocess::default(),
            extractor: ExtractorParams::default(),
            detector: DetectorParams::default(),
            calibration: CalibrationParams::default(),
            sample_weights: SampleWeights::default(),
        }
    }
}

impl PipelineParams {
    /// Checks the ranges that do not depend on the images.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] names the first that is outside.
    pub fn check(&self) -> Result<()> {
        if self.n_components == Some(0) {
            return Err(Error::Parameter {
                name: "n_components",
                found: "0".into(),
                expected: "at least 1; leave it out to keep all features".into(),
            });
        }
        self.detector.check()?;
        self.sample_weights.check(&self.detector)?;
        self.calibration.check()
    }
}

/// What a fit is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Decoding images and extracting their features; the only stage that counts images.
    Extract,
    /// Finding means and standard deviations.
    Scale,
    /// Finding principal components.
    Project,
    /// Growing trees, or finding support vectors.
    Fit,
    /// Finding the threshold.
    Calibrate,
}

/// How far a fit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Images done in [`Stage::Extract`]; else 0 at the beginning of a stage and 1 at its end.
    pub done: usize,
    /// What `done` will be at the end, if known.
    pub total: Option<usize>,
}

/// The weights that an extractor was built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsUsed {
    /// Name of the weights manifest.
    pub name: String,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl WeightsUsed {
    /// What `store` would give to `extractor`; `None` for one without weights.
    pub(crate) fn find(extractor: &ExtractorParams, store: &WeightsStore) -> Result<Option<Self>> {
        let Some(name) = extractor.weights_name() else { return Ok(None) };
        let Some(sha256) = store.manifest(name)?.sha256.clone() else {
            let reason = "the manifest pins no sha256; accept one first".into();
            return Err(Error::Weights { name: name.to_owned(), reason });
        };
        Ok(Some(Self { name: name.to_owned(), sha256 }))
    }
}

/// What is known of the images of a fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitImages {
    /// Images given.
    pub n_images: usize,
    /// Of these, those the detector was fitted on.
    pub n_fitted: usize,
    /// Rows and columns of pixels of each in its file; images to be judged must have the same.
    pub file_size: [usize; 2],
}

/// A fitted pipeline. It holds no state of a run: equal images get equal judgements, in any order, from any thread.
pub struct Pipeline {
    pub(crate) params: PipelineParams,
    pub(crate) images: FitImages,
    pub(crate) weights: Option<WeightsUsed>,
    pub(crate) extractor: Arc<dyn FeatureExtractor>,
    pub(crate) scaler: Option<Scaler>,
    pub(crate) pca: Option<Pca>,
    pub(crate) detector: FittedDetector,
    pub(crate) threshold: Threshold,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("params", &self.params)
            .field("images", &self.images)
            .field("weights", &self.weights)
            .finish_non_exhaustive()
    }
}

/// The features of one image as the detector sees them.
pub(crate) struct Row {
    pub(crate) values: Vec<f32>,
    /// Whether all are finite, found where they were made: they lie in the caches there.
    pub(crate) is_finite: bool,
}

/// The features of the images seen so far, each row apart, so that none is ever copied.
struct Features {
    fitted: Vec<Vec<f32>>,
    held_out: Vec<Vec<f32>>,
}

impl Pipeline {
    /// Fits on images of the normal state of a simulation, which are taken one by one and not kept.
    ///
    /// Their features are: at the peak, the rows of all images and, with `n_components`, the components are in memory.
    ///
    /// - `images`: in the order of the run; all of one size. The first error among them ends the fit.
    /// - `progress`: called after each image and at the beginning and end of each later stage.
    ///
    /// # Errors
    ///
    /// - What `images` gives, and what preprocessing and extractor refuse.
    /// - [`Error::Parameter`] as in [`PipelineParams::check`], and for more components than the images allow.
    /// - [`Error::TooFewSamples`] for fewer than 2 images to fit on, or too few to calibrate the threshold.
    /// - [`Error::Shape`] if images differ in size.
    /// - [`Error::NotFinite`] if a feature is not finite; its index counts the features of all images before.
    pub fn fit<I>(
        params: &PipelineParams,
        images: I,
        weights: &WeightsStore,
        device: &DeviceChoice,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self>
    where
        I: IntoIterator<Item = Result<Decoded>>,
    {
        params.check()?;
        let images = images.into_iter();
        let total = match images.size_hint() {
            (least, Some(most)) if least == most => Some(most),
            _ => None,
        };
        if let Some(total) = total {
            check_counts(params, total)?;
        }
        let mut first: Option<([usize; 2], Arc<dyn FeatureExtractor>)> = None;
        let mut features = Features { fitted: Vec::new(), held_out: Vec::new() };
        let mut n_images = 0;
        for image in images {
            let image = image?;
            let (file_size, extractor) = match &first {
                Some(known) => known,
                None => {
                    let file_size = size_of(&image);
                    let shape = params.preprocess.shape(file_size[0], file_size[1])?;
                    first.insert((file_size, params.extractor.build(shape, weights, device)?))
                }
            };
            let row = extract(&params.preprocess, *file_size, extractor.as_ref(), &image)?;
            if let Some(column) = first_not_finite(&row) {
                let index = n_images * row.len() + column;
                return Err(Error::NotFinite { what: "features of the images of a fit", index });
            }
            let held_out = params.calibration.holds_out(n_images);
            if held_out { &mut features.held_out } else { &mut features.fitted }.push(row);
            n_images += 1;
            progress(Progress { stage: Stage::Extract, done: n_images, total });
        }
        check_counts(params, n_images)?;
        let Some((file_size, extractor)) = first else {
            return Err(Error::TooFewSamples { what: "fit of a pipeline", wanted: 2, found: 0 });
        };
        let images = FitImages { n_images, n_fitted: features.fitted.len(), file_size };
        let weights = WeightsUsed::find(&params.extractor, weights)?;
        let (scaler, pca, detector, threshold) = fit_features(params, features, progress)?;
        Ok(Self { params: params.clone(), images, weights, extractor, scaler, pca, detector, threshold })
    }

    /// Judges one image; `p_value` is there if the threshold was calibrated on images kept out of the fit, and `region` where an
    /// anomalous image has an [`importance_map`](Self::importance_map): its most important place.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the image has another size than those of the fit; what the extractor refuses.
    pub fn judge(&self, image: &Decoded) -> Result<Judgement> {
        Ok(self.judge_with_map(image, false)?.0)
    }

    /// As [`judge`](Self::judge), with the [`importance_map`](Self::importance_map) of the same features: of every image that has one if
    /// `wanted`, else of an anomalous one.
    ///
    /// # Errors
    ///
    /// As [`judge`](Self::judge).
    pub fn judge_with_map(
        &self,
        image: &Decoded,
        wanted: bool,
    ) -> Result<(Judgement, Option<ImportanceMap>)> {
        let row = self.features(image)?;
        let score = self.detector.score_known(&row.values, row.is_finite)?;
        let verdict = self.threshold.judge(score);
        let is_told = wanted || verdict.label == Label::Anomalous;
        let map = if is_told { self.importance_map_of(&row)? } else { None };
        let is_anomalous = |_: &&ImportanceMap| verdict.label == Label::Anomalous;
        let region = map.as_ref().filter(is_anomalous).map(|map| map.region(map.hottest()));
        let judgement = Judgement {
            evidence: Vec::new(),
            verdict,
            p_value: self.threshold.p_value(score),
            false_alarm_rate: self.threshold.false_alarm_rate(),
            region,
            pool: None,
            forgot: 0,
            reproducible: false,
            truth: None,
            field: None,
        };
        Ok((judgement, map))
    }

    /// The score of one image, dimensionless, higher is more anomalous; infinite if a feature is not finite.
    ///
    /// # Errors
    ///
    /// As [`judge`](Self::judge).
    pub fn score(&self, image: &Decoded) -> Result<f32> {
        let row = self.features(image)?;
        self.detector.score_known(&row.values, row.is_finite)
    }

    /// The features of one image as the detector sees them.
    pub(crate) fn features(&self, image: &Decoded) -> Result<Row> {
        let mut row =
            extract(&self.params.preprocess, self.images.file_size, self.extractor.as_ref(), image)?;
        let is_finite = match &self.scaler {
            Some(scaler) => scaler.scale_row(&mut row)?,
            None => first_not_finite(&row).is_none(),
        };
        let Some(pca) = &self.pca else { return Ok(Row { values: row, is_finite }) };
        let values = project(pca, &[row]).remove(0);
        let is_finite = is_finite && first_not_finite(&values).is_none();
        Ok(Row { values, is_finite })
    }

    /// The parameters of the fit.
    pub fn params(&self) -> &PipelineParams {
        &self.params
    }

    /// The images of the fit.
    pub fn images(&self) -> &FitImages {
        &self.images
    }

    /// The weights of the extractor, if it has any.
    pub fn weights(&self) -> Option<&WeightsUsed> {
        self.weights.as_ref()
    }

    /// The extractor.
    pub fn extractor(&self) -> &Arc<dyn FeatureExtractor> {
        &self.extractor
    }

    /// The scaler, if features are scaled.
    pub fn scaler(&self) -> Option<&Scaler> {
        self.scaler.as_ref()
    }

    /// The projection, if there is one.
    pub fn pca(&self) -> Option<&Pca> {
        self.pca.as_ref()
    }

    /// The detector.
    pub fn detector(&self) -> &FittedDetector {
        &self.detector
    }

    /// The threshold.
    pub fn threshold(&self) -> &Threshold {
        &self.threshold
    }

    /// Refuses parts that do not fit each other, as an artefact of another origin may hold them.
    pub(crate) fn check_parts(&self) -> Result<()> {
        let mut width = self.extractor.n_features();
        let mut next = |what, n_inputs: usize, n_outputs: usize| {
            if n_inputs != width {
                let wanted = format!("{width} features, as the part before it gives");
                return Err(Error::Shape { what, wanted, found: n_inputs.to_string() });
            }
            width = n_outputs;
            Ok(())
        };
        if let Some(scaler) = &self.scaler {
            next("scaler", scaler.n_inputs(), scaler.n_outputs())?;
        }
        if let Some(pca) = &self.pca {
            next("principal components", pca.n_inputs(), pca.n_outputs())?;
        }
        next("detector", self.detector.n_features(), 1)
    }
}

fn size_of(image: &Decoded) -> [usize; 2] {
    let (rows, columns, _) = image.pixels.dim();
    [rows, columns]
}

/// Refuses too few images, before features are extracted in vain.
fn check_counts(params: &PipelineParams, n_images: usize) -> Result<()> {
    let n_held_out = (0..n_images).filter(|&i| params.calibration.holds_out(i)).count();
    if n_images - n_held_out < 2 {
        return Err(Error::TooFewSamples {
            what: "fit of a pipeline, beside those held out",
            wanted: 2,
            found: n_images - n_held_out,
        });
    }
    params.sample_weights.check_counts(&params.detector, n_images, n_images - n_held_out)?;
    if let CalibrationParams::HeldOut { every, false_alarm_rate } = params.calibration {
        // Scores are not needed to know whether there are enough.
        Threshold::calibrate(&vec![0.0; n_held_out], false_alarm_rate).map_err(|error| match error {
            Error::TooFewSamples { wanted, found, .. } => Error::TooFewSamples {
                what: "calibration on held-out images (give more images, a smaller `every` or a larger `false_alarm_rate`; \
                       found and needed count images before holding out)",
                wanted: wanted * every,
                found: found * every,
            },
            other => other,
        })?;
    }
    Ok(())
}

/// The features of one image.
fn extract(
    preprocess: &Preprocess,
    file_size: [usize; 2],
    extractor: &dyn FeatureExtractor,
    image: &Decoded,
) -> Result<Vec<f32>> {
    let found = size_of(image);
    if found != file_size {
        return Err(Error::Shape {
            what: "image",
            wanted: format!("{} rows x {} columns, as the first of the fit", file_size[0], file_size[1]),
            found: format!("{} x {}", found[0], found[1]),
        });
    }
    match preprocess.levels(image)? {
        Some(levels) => extractor.extract_levels(levels),
        None => {
            let pixels = preprocess.apply(image)?;
            Ok(extractor.extract(pixels.view().insert_axis(Axis(0)))?.into_iter().collect())
        }
    }
}

fn slices(rows: &[Vec<f32>]) -> Vec<&[f32]> {
    rows.iter().map(Vec::as_slice).collect()
}

fn project(pca: &Pca, rows: &[Vec<f32>]) -> Vec<Vec<f32>> {
    pca.project(&slices(rows)).rows().into_iter().map(|row| row.to_vec()).collect()
}

type Fitted = (Option<Scaler>, Option<Pca>, FittedDetector, Threshold);

/// Fits everything after the extractor.
fn fit_features(
    params: &PipelineParams,
    mut features: Features,
    progress: &mut dyn FnMut(Progress),
) -> Result<Fitted> {
    let mut scaler = None;
    if params.scale {
        scaler = Some(stage(Stage::Scale, progress, || {
            let mut fit = ScalerFit::new();
            features.fitted.iter().try_for_each(|row| fit.add(row))?;
            let scaler = fit.finish()?;
            let rows = features.fitted.par_iter_mut().chain(features.held_out.par_iter_mut());
            rows.try_for_each(|row| scaler.scale_row(row).map(drop))?;
            Ok(scaler)
        })?);
    }
    let mut pca = None;
    if let Some(n_components) = params.n_components {
        pca = Some(stage(Stage::Project, progress, || {
            let (pca, scores) = PcaParams { n_components }.fit_with_scores(&slices(&features.fitted))?;
            features.fitted = scores.rows().into_iter().map(|row| row.to_vec()).collect();
            features.held_out = project(&pca, &features.held_out);
            Ok(pca)
        })?);
    }
    let n_images = features.fitted.len() + features.held_out.len();
    let weights = params.sample_weights.of_images(n_images).map(|weights| {
        let weights = weights.into_iter().enumerate();
        weights
            .filter(|(i, _)| !params.calibration.holds_out(*i))
            .map(|(_, weight)| weight)
            .collect::<Vec<f64>>()
    });
    let detector = stage(Stage::Fit, progress, || {
        params.detector.fit_weighted(&slices(&features.fitted), weights.as_deref(), params.seed)
    })?;
    let threshold = stage(Stage::Calibrate, progress, || {
        let scores = |rows: &[Vec<f32>]| {
            rows.par_iter().map(|row| detector.score_row(row)).collect::<Result<Vec<f32>>>()
        };
        match params.calibration {
            CalibrationParams::HeldOut { false_alarm_rate, .. } => {
                Threshold::calibrate(&scores(&features.held_out)?, false_alarm_rate)
            }
            CalibrationParams::Contamination { contamination } => {
                Threshold::from_contamination(&scores(&features.fitted)?, contamination)
            }
            CalibrationParams::Fixed { value } => Threshold::fixed(value),
        }
    })?;
    Ok((scaler, pca, detector, threshold))
}

/// Reports the beginning and the end of a stage.
fn stage<T>(stage: Stage, progress: &mut dyn FnMut(Progress), work: impl FnOnce() -> Result<T>) -> Result<T> {
    progress(Progress { stage, done: 0, total: Some(1) });
    let result = work()?;
    progress(Progress { stage, done: 1, total: Some(1) });
    Ok(result)
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
pub(crate) mod tests;
