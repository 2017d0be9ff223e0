//! Isolation forest: few random cuts are needed to isolate what is unlike the rest.
//!
//! Liu, Ting and Zhou, "Isolation Forest", ICDM 2008. Made for very wide samples (a million columns): a node never reads
//! all columns, so the time of a fit does not grow with their number.

mod digest;
mod fresh;
mod grow;
mod importance;
mod incremental;
mod memory;
mod nodes;
mod oblique;
mod partition;
mod pool;
mod samples;
mod stored;
mod twins;
mod weighted;

pub use importance::Importances;
pub use incremental::IncrementalForest;
pub(crate) use nodes::score_of;
pub use nodes::{ForestArrays, average_path_length};
pub use oblique::{ExtendedForest, ExtendedForestArrays, ExtendedForestParams};
pub use pool::SamplePool;
pub use stored::Stored;

use crate::finite::first_not_finite;
use crate::rng::Rng;
use crate::traits::{Detector, Fit};
use crate::{Error, Result};
use grow::{Grower, N_TOGETHER};
use ndarray::{Array1, ArrayView2, Axis};
use nodes::Trees;
use rayon::prelude::*;
use samples::{Columns, Rows, Samples};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How an isolation forest is fitted.
///
/// # Examples
///
/// ```
/// use anomalyd_models::detector::IsolationForestParams;
/// use anomalyd_models::{Detector, Fit};
/// use ndarray::array;
///
/// let samples = array![[0.0f32, 0.1], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0], [0.05, 0.02], [5.0, 5.0]];
/// let forest = IsolationForestParams { n_trees: 200, ..Default::default() }.fit(samples.view(), 1)?;
/// let scores = forest.score(samples.view())?;
/// assert!((0..5).all(|i| scores[5] > scores[i]));
/// # Ok::<(), anomalyd_models::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IsolationForestParams {
    /// Number of trees, 1 to 100,000. The scores of two seeds agree the better, the more trees there are.
    pub n_trees: usize,
    /// Rows drawn for each tree, without replacement, at least 2; absent, or more than there are: all.
    pub sample_size: Option<usize>,
    /// Greatest number of splits on a path, at least 1; absent: log2 of the sample size, rounded up, as in the paper.
    pub max_depth: Option<u32>,
}

impl Default for IsolationForestParams {
    fn default() -> Self {
        Self { n_trees: 1000, sample_size: None, max_depth: None }
    }
}

const MAX_TREES: usize = 100_000;

impl IsolationForestParams {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] names the first that is outside.
    pub fn check(&self) -> Result<()> {
        let refuse = |name, found: usize, expected: &str| {
            Err(Error::Parameter { name, found: found.to_string(), expected: expected.into() })
        };
        match *self {
            Self { n_trees: n, .. } if !(1..=MAX_TREES).contains(&n) => refuse("n_trees", n, "1 to 100000"),
            Self { sample_size: Some(n), .. } if n < 2 => refuse("sample_size", n, "at least 2"),
            Self { max_depth: Some(0), .. } => refuse("max_depth", 0, "at least 1"),
            _ => Ok(()),
        }
    }

    /// Fits on rows that lie apart in memory; the same forest as [`Fit::fit`] gives on the same values.
    ///
    /// - `rows`: `n` of equal length.
    ///
    /// Values that are not finite are found where a split looks at them, which is not everywhere: who takes rows from
    /// outside checks them first.
    ///
    /// # Errors
    ///
    /// - [`Error::TooFewSamples`] for fewer than 2 rows.
    /// - [`Error::Shape`] for rows of different length or without a column.
    /// - [`Error::NotFinite`] if a value looked at is not finite; its index counts row by row.
    /// - [`Error::Parameter`] as in [`check`](Self::check).
    pub fn fit_rows(&self, rows: &[&[f32]], seed: u64) -> Result<IsolationForest> {
        check_lengths(rows)?;
        self.fit_samples(&Rows(rows), None, None, seed)
    }

    /// Fits on rows that lie apart in memory, each the likelier drawn for a tree, the greater its weight: one row after the other, in
    /// proportion to the weights of those left. That is what scikit-learn's `sample_weight` does since 1.8, and isotree's
    /// `sample_weights` with `weight_as_sample_prob`.
    ///
    /// - `weights`: `[n]`, at least 0. Only ratios matter, and only where `sample_size` leaves rows out: a tree of all rows has no choice.
    ///
    /// # Errors
    ///
    /// As in [`fit_rows`](Self::fit_rows); [`Error::Shape`] for another number of weights than rows; [`Error::Parameter`] for a weight
    /// that is negative or not finite, and for fewer above 0 than a tree has rows.
    pub fn fit_weighted(&self, rows: &[&[f32]], weights: &[f64], seed: u64) -> Result<IsolationForest> {
        check_lengths(rows)?;
        self.fit_samples(&Rows(rows), Some(weights), None, seed)
    }

    /// Fits on the rows of a pool; the same forest as [`Fit::fit`] gives on the same values.
    ///
    /// # Errors
    ///
    /// [`Error::TooFewSamples`] for fewer than 2 rows; [`Error::Parameter`] as in [`check`](Self::check).
    pub fn fit_pool<E: Stored>(&self, samples: &SamplePool<E>, seed: u64) -> Result<IsolationForest> {
        self.fit_samples(&samples.prepared_view(), None, None, seed)
    }

    /// Scores `row` as the forest of [`fit_pool`](Self::fit_pool) does, bit for bit, without that forest: of every tree only the
    /// path of this row is grown. For one row that takes a small part of the time of a fit.
    ///
    /// # Errors
    ///
    /// Those of [`fit_pool`](Self::fit_pool) and [`IsolationForest::score_row`].
    pub fn score_against_pool<E: Stored>(
        &self,
        samples: &SamplePool<E>,
        row: &[f32],
        seed: u64,
    ) -> Result<f32> {
        self.score_against(&samples.prepared_view(), row, seed)
    }

    /// Scores `row` as the forest of [`fit_rows`](Self::fit_rows) does, bit for bit, without that forest, as
    /// [`score_against_pool`](Self::score_against_pool).
    ///
    /// # Errors
    ///
    /// Those of [`fit_rows`](Self::fit_rows), where a path comes by what is not finite, and [`IsolationForest::score_row`].
    pub fn score_against_rows(&self, rows: &[&[f32]], row: &[f32], seed: u64) -> Result<f32> {
        check_lengths(rows)?;
        self.score_against(&Rows(rows), row, seed)
    }

    fn score_against<S: Samples>(&self, samples: &S, row: &[f32], seed: u64) -> Result<f32> {
        if row.len() != samples.n_features() {
            return Err(wrong_width(samples.n_features(), row.len()));
        }
        // Where the row goes is known if its values are.
        if first_not_finite(row).is_some() {
            self.check()?;
            return Ok(f32::INFINITY);
        }
        Ok(self.fit_samples(samples, None, Some(row), seed)?.score_finite(row))
    }

    /// The path lengths of `row`, which is finite, in these trees of the forest of [`fit_pool`](Self::fit_pool).
    pub(crate) fn path_lengths_against_pool<E: Stored>(
        &self,
        samples: &SamplePool<E>,
        row: &[f32],
        seed: u64,
        trees: Range<usize>,
    ) -> Result<Vec<f64>> {
        if row.len() != samples.n_features() {
            return Err(wrong_width(samples.n_features(), row.len()));
        }
        let forest = self.fit_trees(&samples.prepared_view(), None, Some(row), seed, trees)?;
        let mut lengths = Vec::with_capacity(forest.n_trees());
        forest.trees.each_path_length(row, |length| lengths.push(length));
        Ok(lengths)
    }

    /// - `toward`: the one row that the forest can then score; absent: any.
    fn fit_samples<S: Samples>(
        &self,
        samples: &S,
        weights: Option<&[f64]>,
        toward: Option<&[f32]>,
        seed: u64,
    ) -> Result<IsolationForest> {
        self.fit_trees(samples, weights, toward, seed, 0..self.n_trees)
    }

    /// - `trees`: of all, those that are grown; a tree depends on the seed and its number.
    fn fit_trees<S: Samples>(
        &self,
        samples: &S,
        weights: Option<&[f64]>,
        toward: Option<&[f32]>,
        seed: u64,
        trees: Range<usize>,
    ) -> Result<IsolationForest> {
        self.check()?;
        let (n_rows, n_features) = (samples.n_rows(), samples.n_features());
        check_shape(n_rows, n_features)?;
        let sample_size = self.sample_size.map_or(n_rows, |size| size.min(n_rows));
        if let Some(weights) = weights {
            weighted::check(weights, n_rows, sample_size)?;
        }
        let max_depth = self.max_depth.unwrap_or_else(|| sample_size.next_power_of_two().ilog2());
        let twins = samples.twins()?;
        let varying = twins.few_varying(samples);
        // Each thread takes the next tree when it has room for one, and trees are put in their order afterwards.
        let next = AtomicUsize::new(trees.start);
        let n_growers = rayon::current_num_threads().min(trees.len().div_ceil(N_TOGETHER));
        let grow = |_| {
            let mut taken = Vec::new();
            let rngs = std::iter::from_fn(|| {
                let tree = next.fetch_add(1, Ordering::Relaxed);
                (tree < trees.end).then(|| {
                    taken.push(tree);
                    Rng::derived(seed, tree as u64)
                })
            });
            let varying = varying.as_deref();
            let mut grower = Grower::new(samples, &twins, varying, toward, sample_size, weights, max_depth);
            let grown = grower.grow(rngs);
            taken.into_iter().zip(grown).collect::<Vec<_>>()
        };
        let grown: Vec<Vec<_>> = (0..n_growers).into_par_iter().with_max_len(1).map(grow).collect();
        let mut grown: Vec<_> = grown.into_iter().flatten().collect();
        grown.sort_unstable_by_key(|(tree, _)| *tree);
        // The error of the first tree that has one, whichever thread was first.
        let trees = grown.into_iter().map(|(_, tree)| tree.map(|tree| tree.nodes));
        let trees = trees.collect::<Result<Vec<_>>>()?;
        Ok(IsolationForest { trees: Trees::join(&trees)?, n_features, sample_size })
    }
}

/// `trees`, as many at a time as grow together.
fn groups_of(trees: Range<usize>) -> Vec<Range<usize>> {
    trees.clone().step_by(N_TOGETHER).map(|first| first..(first + N_TOGETHER).min(trees.end)).collect()
}

/// Refuses what no forest can be grown on.
fn check_shape(n_rows: usize, n_features: usize) -> Result<()> {
    if n_rows < 2 {
        return Err(Error::TooFewSamples { what: "isolation forest", wanted: 2, found: n_rows });
    }
    if n_features == 0 || n_features >= nodes::LEAF as usize || n_rows >= u32::MAX as usize {
        return Err(Error::Shape {
            what: "samples of an isolation forest",
            wanted: "1 to 2^32 - 2 rows and columns".into(),
            found: format!("[{n_rows}, {n_features}]"),
        });
    }
    Ok(())
}

impl Fit for IsolationForestParams {
    type Model = IsolationForest;

    /// Fits on `[n, n_features]`, row-major or column-major without a copy; errors as in
    /// [`fit_rows`](IsolationForestParams::fit_rows).
    fn fit(&self, samples: ArrayView2<'_, f32>, seed: u64) -> Result<IsolationForest> {
        if let Some(rows) = contiguous_rows(&samples) {
            return self.fit_rows(&rows, seed);
        }
        let n_rows = samples.nrows();
        if let Some(values) = samples.reversed_axes().to_slice() {
            return self.fit_samples(&Columns { values, n_rows }, None, None, seed);
        }
        let samples = samples.as_standard_layout();
        let rows = contiguous_rows(&samples.view()).expect("rows of the standard layout are contiguous");
        self.fit_rows(&rows, seed)
    }
}

fn check_lengths(rows: &[&[f32]]) -> Result<()> {
    match rows.first().zip(rows.iter().find(|row| row.len() != rows[0].len())) {
        None => Ok(()),
        Some((first, other)) => Err(Error::Shape {
            what: "rows of samples",
            wanted: format!("{} values in each, as in the first", first.len()),
            found: other.len().to_string(),
        }),
    }
}

fn wrong_width(n_features: usize, found: usize) -> Error {
    Error::Shape {
        what: "features to score",
        wanted: format!("{n_features} columns"),
        found: found.to_string(),
    }
}

fn contiguous_rows<'a>(samples: &ArrayView2<'a, f32>) -> Option<Vec<&'a [f32]>> {
    (0..samples.nrows()).map(|row_idx| samples.index_axis_move(Axis(0), row_idx).to_slice()).collect()
}

/// A fitted isolation forest.
#[derive(Debug, Clone, PartialEq)]
pub struct IsolationForest {
    trees: Trees,
    n_features: usize,
    sample_size: usize,
}

impl IsolationForest {
    /// Number of trees.
    pub fn n_trees(&self) -> usize {
        self.trees.n_trees()
    }

    /// Number of nodes of all trees, leaves included.
    pub fn n_nodes(&self) -> usize {
        self.trees.n_nodes()
    }

    /// Rows that each tree was grown on.
    pub fn sample_size(&self) -> usize {
        self.sample_size
    }

    /// The mean over the trees of the path length of `row`, adjusted for leaves of several samples.
    ///
    /// # Panics
    ///
    /// If `row` is shorter than the samples of the fit.
    pub fn mean_path_length(&self, row: &[f32]) -> f64 {
        self.trees.mean_path_length(row)
    }

    /// The score of one image's features, in (0, 1]: `2^(-E h / c(sample_size))` (the paper's equation 2), higher is more
    /// anomalous; about 0.5 for a sample like all others.
    ///
    /// Infinite if a feature is not finite: that is a finding, not an error.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if `row` has another length than the samples of the fit.
    pub fn score_row(&self, row: &[f32]) -> Result<f32> {
        if row.len() != self.n_features {
            return Err(wrong_width(self.n_features, row.len()));
        }
        Ok(self.score_checked(row))
    }

    fn score_checked(&self, row: &[f32]) -> f32 {
        if first_not_finite(row).is_some() {
            return f32::INFINITY;
        }
        self.score_finite(row)
    }

    /// The score of features known to be finite, such as those that a [`SamplePool`] has taken or
    /// [`Scaler::scale_row`](crate::transform::Scaler::scale_row) has found so: reading all of a million values to see that takes longer than
    /// the score.
    ///
    /// # Panics
    ///
    /// If `row` is shorter than the samples of the fit.
    pub fn score_finite(&self, row: &[f32]) -> f32 {
        nodes::score_of(self.trees.mean_path_length(row), self.sample_size)
    }

    /// The forest as plain arrays.
    pub fn to_arrays(&self) -> ForestArrays {
        self.trees.to_arrays()
    }

    /// A forest from arrays, which need not be trusted.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the arrays are no forest over `n_features` columns; [`Error::Parameter`] if `sample_size` is
    /// less than 2.
    pub fn from_arrays(arrays: &ForestArrays, n_features: usize, sample_size: usize) -> Result<Self> {
        IsolationForestParams { sample_size: Some(sample_size), ..Default::default() }.check()?;
        Ok(Self { trees: Trees::from_arrays(arrays, n_features)?, n_features, sample_size })
    }
}

impl Detector for IsolationForest {
    fn n_features(&self) -> usize {
        self.n_features
    }

    /// Scores as [`score_row`](IsolationForest::score_row) does, rows in parallel.
    fn score(&self, features: ArrayView2<'_, f32>) -> Result<Array1<f32>> {
        if features.ncols() != self.n_features {
            return Err(wrong_width(self.n_features, features.ncols()));
        }
        let features = features.as_standard_layout();
        let rows: Vec<&[f32]> = features.rows().into_iter().filter_map(|row| row.to_slice()).collect();
        Ok(rows.par_iter().map(|row| self.score_checked(row)).collect::<Vec<f32>>().into())
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
