//! The paper's rule: a new isolation forest for every image, on all images believed normal before it; of each tree only the path is
//! grown that the image takes.

use super::params::ForestRuleParams;
use super::pool::Pool;
use super::record::Record;
use super::sequence::{Opinion, Rule};
use crate::error::Result;
use crate::extractor::ExtractorSource;
use crate::rng::Rng;
use crate::traits::{FeatureExtractor, ImageShape};
use crate::verdict::Verdict;
use ndarray::{Array3, Axis};
use std::fmt;
use std::sync::Arc;

/// The features of one image.
pub(super) type Row = Box<[f32]>;

/// The rule with its parameters.
pub(super) struct ForestRule {
    params: ForestRuleParams,
    seed: u64,
    source: Arc<dyn ExtractorSource>,
    /// Made for the first image's shape.
    extractor: Option<Arc<dyn FeatureExtractor>>,
}

impl ForestRule {
    pub(super) fn new(params: ForestRuleParams, seed: u64, source: Arc<dyn ExtractorSource>) -> Self {
        Self { params, seed, source, extractor: None }
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
    type State = Row;

    fn depth(&self) -> usize {
        self.params.max_images
    }

    fn prepare(&mut self, pixels: &Array3<f32>) -> Result<Row> {
        let (channels, rows, columns) = pixels.dim();
        let shape = ImageShape { channels, rows, columns };
        let extractor = match self.extractor.take().filter(|extractor| extractor.image_shape() == shape) {
            Some(extractor) => extractor,
            None => self.source.extractor(&self.params.extractor, shape)?,
        };
        let features = extractor.extract(pixels.view().insert_axis(Axis(0)));
        self.extractor = Some(extractor);
        Ok(features?.into_iter().collect())
    }

    fn judge(&self, pool: &Pool<Row>, step: i64, row: Row, _rate: f64) -> Result<Opinion<Row>> {
        let mut verdict = Verdict::unknown();
        if pool.size() >= self.params.warm_up {
            let rows: Vec<&[f32]> = pool
                .states()
                .skip(pool.n_held().saturating_sub(self.params.max_images))
                .map(|row| &**row)
                .collect();
            // By step, not by a count of images: a replay after a rewind then grows the same forest.
            let seed = Rng::derived(self.seed, step as u64).next_u64();
            let score = self.params.forest.score_against_rows(&rows, &row, seed)?;
            verdict = Verdict::by_threshold(f64::from(score), self.params.threshold);
        }
        Ok(Opinion { verdict, ..Opinion::unknown(row) })
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!({ "extractor": self.params.extractor, "max_images": self.params.max_images })
    }

    fn store(&self, row: &Row, record: &mut Record) {
        record.put_flat("features", row);
    }

    fn restore(&self, record: &Record) -> Result<Row> {
        Ok(record.get_flat("features", usize::MAX)?.into())
    }

    fn needed(&self, pool: &Pool<Row>) -> usize {
        self.params.warm_up.saturating_sub(pool.size())
    }
}
