//! The paper's rule: every image is judged by an isolation forest on all images believed normal before it. The forest is kept from image to
//! image, with the same distribution as a new one; or it is a new one, and of each tree only the path is grown that the image takes.

use super::kept_forest::{KeptForest, Sample};
use super::params::ForestRuleParams;
use super::pixels::Pixels;
use super::pool::Pool;
use super::record::Record;
use super::sequence::{Opinion, Rule};
use crate::detector::SamplePool;
use crate::error::{Error, Result};
use crate::extractor::ExtractorSource;
use crate::finite::first_not_finite;
use crate::rng::Rng;
use crate::traits::FeatureExtractor;
use crate::verdict::Verdict;
use ndarray::Axis;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// The features of one image.
pub(super) type Row = Box<[f32]>;

/// The features of an image, until they lie among the samples.
#[derive(Debug)]
pub(super) struct Features(Option<Row>);

/// The features of the images in the pool whose states are held, as a forest reads them.
#[derive(Debug)]
struct Held {
    rows: SamplePool,
    /// Of the states.
    ids: VecDeque<u64>,
    /// On the rows that are not ignored, if forests are kept and there are enough.
    forest: Option<KeptForest>,
}

/// The rule with its parameters.
pub(super) struct ForestRule {
    params: ForestRuleParams,
    seed: u64,
    source: Arc<dyn ExtractorSource>,
    /// Made for the first image's shape.
    extractor: Option<Arc<dyn FeatureExtractor>>,
    /// From the first accepted image on.
    held: Option<Box<Held>>,
}

impl ForestRule {
    pub(super) fn new(params: ForestRuleParams, seed: u64, source: Arc<dyn ExtractorSource>) -> Self {
        Self { params, seed, source, extractor: None, held: None }
    }

    /// Whether the forest on so many images is one that is kept; one whose trees see a part of the rows each is not.
    fn is_kept(&self, n_images: usize) -> bool {
        let forest = &self.params.forest;
        self.params.incremental
            && n_images >= 2
            && forest.sample_size.is_none_or(|size| size >= self.params.max_images)
    }

    /// The rows of the pool that are too old for the forest. They change an eighth of all at a time, as what is known of rows that are
    /// alike must follow from those that are left, whatever was known before.
    fn n_ignored(&self, pool: &Pool<Features>) -> usize {
        let most = self.params.max_images;
        let block = (most / 8).max(1);
        let n_old = pool.size().saturating_sub(most).next_multiple_of(block);
        n_old.saturating_sub(pool.n_dropped())
    }
}

impl fmt::Debug for ForestRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForestRule")
            .field("params", &self.params)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Rule for ForestRule {
    type Prepared = Row;
    type State = Features;

    fn depth(&self) -> usize {
        self.params.max_images
    }

    fn prepare(&mut self, pixels: &Pixels<'_>) -> Result<Row> {
        let shape = pixels.shape();
        let extractor = match self.extractor.take().filter(|extractor| extractor.image_shape() == shape) {
            Some(extractor) => extractor,
            None => self.source.extractor(&self.params.extractor, shape)?,
        };
        let features = match pixels {
            Pixels::Levels { levels, .. } => extractor.extract_levels(levels.view()),
            Pixels::Numbers(numbers) => {
                let features = extractor.extract(numbers.view().insert_axis(Axis(0)));
                features.map(|features| features.into_raw_vec_and_offset().0)
            }
        };
        self.extractor = Some(extractor);
        let features = features?;
        match first_not_finite(&features) {
            None => Ok(features.into()),
            Some(index) => Err(Error::NotFinite { what: "features of an image", index }),
        }
    }

    fn judge(&self, pool: &Pool<Features>, step: i64, row: Row, _rate: f64) -> Result<Opinion<Features>> {
        let mut verdict = Verdict::unknown();
        if let Some(held) = self.held.as_ref().filter(|_| pool.size() >= self.params.warm_up) {
            let score = match &held.forest {
                Some(forest) => forest.score(&row),
                None => {
                    // By step, not by a count of images: a replay after a rewind then grows the same forest.
                    let seed = Rng::derived(self.seed, step as u64).next_u64();
                    self.params.forest.score_against_pool(&held.rows, &row, seed)?
                }
            };
            verdict = Verdict::by_threshold(f64::from(score), self.params.threshold);
        }
        Ok(Opinion { verdict, ..Opinion::unknown(Features(Some(row))) })
    }

    fn follow(&mut self, pool: &mut Pool<Features>) -> Result<()> {
        let n_ignored = self.n_ignored(pool);
        let oldest = pool.entries().next().map(|entry| entry.id);
        if let Some(Held { rows, ids, .. }) = self.held.as_deref_mut() {
            while ids.front().is_some_and(|&id| oldest.is_none_or(|oldest| id < oldest)) {
                rows.pop_front();
                ids.pop_front();
            }
            let n_left = pool.entries().zip(&*ids).take_while(|(entry, id)| entry.id == **id).count();
            rows.truncate(n_left);
            ids.truncate(n_left);
        }
        let n_held = self.held.as_ref().map_or(0, |held| held.ids.len());
        for entry in pool.entries_mut().skip(n_held) {
            let row = entry.state.0.take().unwrap_or_default();
            let held = match self.held.take().filter(|held| held.rows.n_rows() > 0) {
                Some(held) => held,
                // The first row may be of another length than those of images forgotten.
                None => {
                    let rows = SamplePool::new(row.len())?;
                    Box::new(Held { rows, ids: VecDeque::new(), forest: None })
                }
            };
            let Held { rows, ids, .. } = &mut **self.held.insert(held);
            rows.push(&row)?;
            ids.push_back(entry.id);
        }
        let samples: Vec<Sample> =
            pool.entries().skip(n_ignored).map(|entry| Sample { id: entry.id, step: entry.step }).collect();
        let is_kept = self.is_kept(samples.len());
        let Some(held) = &mut self.held else { return Ok(()) };
        held.rows.ignore(n_ignored);
        let before = held.forest.take();
        if is_kept {
            let forest = &self.params.forest;
            held.forest = Some(KeptForest::follow(before, forest, &held.rows, &samples, self.seed)?);
        }
        Ok(())
    }

    fn settings(&self) -> serde_json::Value {
        let ForestRuleParams { extractor, max_images, .. } = &self.params;
        let mut settings = serde_json::json!({ "extractor": extractor, "max_images": max_images });
        if let Some(format) = self.source.rounded_to(extractor) {
            settings["features.rounded_to"] = format.into();
        }
        settings
    }

    fn store(&self, id: u64, state: &Features, record: &mut Record) {
        match (&state.0, self.held.as_deref()) {
            (Some(row), _) => record.put_flat("features", row),
            (None, Some(Held { rows, ids, .. })) => {
                let row_idx =
                    ids.binary_search(&id).expect("the features of a state are held; this is a bug");
                let mut row = vec![0.0f32; rows.n_features()];
                rows.copy_row(row_idx, &mut row);
                record.put_flat("features", &row);
            }
            (None, None) => unreachable!("features are in their state or held; this is a bug"),
        }
    }

    fn restore(&self, record: &Record) -> Result<Features> {
        let row: Vec<f32> = record.get_flat("features", usize::MAX)?;
        if let Some(index) = first_not_finite(&row) {
            return Err(Error::Record { reason: format!("feature {index} is not finite") });
        }
        Ok(Features(Some(row.into())))
    }

    fn needed(&self, pool: &Pool<Features>) -> usize {
        self.params.warm_up.saturating_sub(pool.size())
    }
}
