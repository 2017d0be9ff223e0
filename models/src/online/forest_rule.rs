//! The paper's rule: every image is judged by an isolation forest on all images believed normal before it. The forest is kept from image to
//! image, with the same distribution as a new one; or it is a new one, and of each tree only the path is grown that the image takes.

use super::kept_forest::Sample;
use super::params::ForestRuleParams;
use super::pixels::Pixels;
use super::pool::Pool;
use super::record::Record;
use super::record_draft::RecordDraft;
use super::rows::RowFormat;
use super::sequence::{Opinion, Rule};
use super::shared_trees::{NumberedRow, SharedTrees};
use super::sparse;
use crate::error::{Error, Result};
use crate::extractor::ExtractorSource;
use crate::finite::first_not_finite;
use crate::rng::Rng;
use crate::traits::FeatureExtractor;
use crate::verdict::Verdict;
use ndarray::Axis;
use std::fmt;
use std::sync::Arc;

/// The features of an image, until they lie among the samples and the trees have followed.
#[derive(Debug)]
pub(super) struct Features(Option<NumberedRow>);

/// The rule with its parameters.
pub(super) struct ForestRule {
    params: ForestRuleParams,
    seed: u64,
    source: Arc<dyn ExtractorSource>,
    /// Made for the first image's shape.
    extractor: Option<Arc<dyn FeatureExtractor>>,
    /// On the features of the images in the pool whose states are held.
    forest: Box<SharedTrees>,
    /// Of the next image's features.
    next_number: u64,
}

impl ForestRule {
    pub(super) fn new(params: ForestRuleParams, seed: u64, source: Arc<dyn ExtractorSource>) -> Self {
        let keepers = params.share_trees.then(|| source.tree_keepers()).flatten();
        let forest = Box::new(SharedTrees::new(params.forest.clone(), params.rows, seed, keepers));
        Self { params, seed, source, extractor: None, forest, next_number: 1 }
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
    type Prepared = NumberedRow;
    type State = Features;

    fn depth(&self) -> usize {
        self.params.max_images
    }

    fn prepare(&mut self, pixels: &Pixels<'_>) -> Result<NumberedRow> {
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
            None => {
                self.next_number += 1;
                Ok(NumberedRow { number: self.next_number - 1, row: features.into() })
            }
            Some(index) => Err(Error::NotFinite { what: "features of an image", index }),
        }
    }

    fn judge(
        &self,
        pool: &Pool<Features>,
        step: i64,
        row: NumberedRow,
        _rate: f64,
    ) -> Result<Opinion<Features>> {
        let mut verdict = Verdict::unknown();
        if pool.size() >= self.params.warm_up {
            // By step, not by a count of images: a replay after a rewind then grows the same forest.
            let seed = Rng::derived(self.seed, step as u64).next_u64();
            let score = self.forest.score(&row, seed)?;
            verdict = Verdict::by_threshold(f64::from(score), self.params.threshold);
        }
        Ok(Opinion { verdict, ..Opinion::unknown(Features(Some(row))) })
    }

    fn follow(&mut self, pool: &mut Pool<Features>) -> Result<()> {
        let n_ignored = self.n_ignored(pool);
        let oldest = pool.entries().next().map(|entry| entry.id);
        let held = self.forest.samples();
        let n_oldest = held.iter().take_while(|held| oldest.is_none_or(|oldest| held.id < oldest)).count();
        let after = held.iter().skip(n_oldest);
        let n_left = pool.entries().zip(after).take_while(|(entry, held)| entry.id == held.id).count();
        let is_kept = self.is_kept(pool.n_held().saturating_sub(n_ignored));
        let pushed = pool.entries_mut().skip(n_left);
        let pushed = pushed.map(|entry| (Sample { id: entry.id, step: entry.step }, &mut entry.state.0));
        self.forest.follow(n_oldest, n_left, pushed.collect(), n_ignored, is_kept)
    }

    fn settings(&self) -> serde_json::Value {
        let ForestRuleParams { extractor, rows, max_images, .. } = &self.params;
        let mut settings = serde_json::json!({ "extractor": extractor, "max_images": max_images });
        if let Some(format) = self.source.rounded_to(extractor) {
            settings["features.rounded_to"] = format.into();
        }
        // Where it is not what it was before it could be chosen.
        if *rows != RowFormat::F32 {
            settings["rows"] = serde_json::json!(rows);
        }
        settings
    }

    fn store<'a>(&'a self, id: u64, state: &'a Features, draft: &mut RecordDraft<'a>) {
        match &state.0 {
            Some(NumberedRow { row, .. }) => sparse::put(draft, &**row),
            None => {
                let held = self.forest.samples().binary_search_by_key(&id, |held| held.id);
                let row_idx = held.expect("features are in their state or held; this is a bug");
                sparse::put(draft, self.forest.row(row_idx).into_vec());
            }
        }
    }

    fn restore(&self, record: &Record) -> Result<Features> {
        let row = sparse::get(record)?;
        if let Some(index) = first_not_finite(&row) {
            return Err(Error::Record { reason: format!("feature {index} is not finite") });
        }
        Ok(Features(Some(NumberedRow { number: 0, row: row.into() })))
    }

    fn needed(&self, pool: &Pool<Features>) -> usize {
        self.params.warm_up.saturating_sub(pool.size())
    }
}
