//! The features of a run's images as a forest's rows, kept in f32 or rounded to half as many bytes.

use super::kept_forest::{KeptForest, Sample};
use crate::detector::{IsolationForestParams, SamplePool};
use crate::error::Result;
use half::bf16;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How features are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowFormat {
    /// As they are, 4 bytes a feature.
    #[default]
    F32,
    /// Rounded to the nearest bf16, by at most 1 part in 256: 2 bytes a feature. The image that is judged is not rounded.
    Bf16,
}

/// Rows in one of the formats.
#[derive(Debug)]
pub(super) enum Rows {
    F32(SamplePool<f32>),
    Bf16(SamplePool<bf16>),
}

/// The same of either pool.
macro_rules! of_either {
    ($rows:expr, $pool:ident => $found:expr) => {
        match $rows {
            Rows::F32($pool) => $found,
            Rows::Bf16($pool) => $found,
        }
    };
}

impl Rows {
    /// No rows yet, of so many features, at least one.
    pub(super) fn new(format: RowFormat, n_features: usize) -> Result<Self> {
        Ok(match format {
            RowFormat::F32 => Self::F32(SamplePool::new(n_features)?),
            RowFormat::Bf16 => Self::Bf16(SamplePool::new(n_features)?),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        of_either!(self, pool => pool.n_rows() == 0)
    }

    /// A row as it is kept.
    pub(super) fn row(&self, row_idx: usize) -> Box<[f32]> {
        of_either!(self, pool => {
            let mut row = vec![0.0; pool.n_features()];
            pool.copy_row(row_idx, &mut row);
            row.into()
        })
    }

    /// As [`SamplePool::push`].
    pub(super) fn push(&mut self, row: &[f32]) -> Result<()> {
        of_either!(self, pool => pool.push(row))
    }

    /// Forgets so many of the oldest, then the newest until `n_left` are left.
    pub(super) fn forget(&mut self, n_oldest: usize, n_left: usize) {
        of_either!(self, pool => {
            (0..n_oldest).for_each(|_| pool.pop_front());
            pool.truncate(n_left);
        });
    }

    /// As [`SamplePool::ignore`].
    pub(super) fn ignore(&mut self, n_rows: usize) {
        of_either!(self, pool => pool.ignore(n_rows));
    }

    /// As [`SamplePool::reserve`].
    pub(super) fn reserve(&mut self) {
        of_either!(self, pool => pool.reserve());
    }

    /// As [`KeptForest::follow`].
    pub(super) fn follow(
        &self,
        before: Option<KeptForest>,
        params: &IsolationForestParams,
        trees: Range<usize>,
        samples: &[Sample],
        seed: u64,
    ) -> Result<KeptForest> {
        of_either!(self, pool => KeptForest::follow(before, params, trees, pool, samples, seed))
    }

    /// The path length of a row, which is finite, in each of these trees of a new forest.
    pub(super) fn path_lengths(
        &self,
        params: &IsolationForestParams,
        row: &[f32],
        seed: u64,
        trees: Range<usize>,
    ) -> Result<Vec<f64>> {
        of_either!(self, pool => params.path_lengths_against_pool(pool, row, seed, trees))
    }
}
