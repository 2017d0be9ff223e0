//! The extended isolation forest: a split looks at several columns at once.
//!
//! Hariri, Carrasco Kind, Brunner, "Extended isolation forest", IEEE TKDE 33 (2021): cuts across the columns leave no
//! ghosts of low scores beside and between clusters, as cuts along them do. Columns and coefficients as in isotree (Cortes,
//! "Distance approximation using isolation forests", arXiv:1910.12362).

mod nodes;

pub use nodes::ExtendedForestArrays;

use super::nodes::score_of;
use super::samples::{Rows, Samples};
use super::{IsolationForestParams, average_path_length, contiguous_rows, weighted};
use crate::finite::first_not_finite;
use crate::rng::Rng;
use crate::traits::{Detector, Fit};
use crate::{Error, Result};
use ndarray::{Array1, ArrayView2};
use nodes::{Node, Tree, Trees};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::rc::Rc;

/// How an extended isolation forest is fitted.
///
/// In each node `n_columns` columns are drawn among those that vary there, each gets a standard normal coefficient over its standard
/// deviation in the node, and the weighted sum is split uniformly between its least and its greatest value over the node's rows.
///
/// # Examples
///
/// ```
/// use anomalyd_models::detector::ExtendedForestParams;
/// use anomalyd_models::{Detector, Fit};
/// use ndarray::array;
///
/// let samples = array![[0.0f32, 0.1], [0.1, 0.0], [0.1, 0.1], [0.0, 0.0], [0.05, 0.02], [5.0, 5.0]];
/// let forest = ExtendedForestParams { n_trees: 200, ..Default::default() }.fit(samples.view(), 1)?;
/// let scores = forest.score(samples.view())?;
/// assert!((0..5).all(|i| scores[5] > scores[i]));
/// # Ok::<(), anomalyd_models::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExtendedForestParams {
    /// Columns of a split, 1 to 1,000 (isotree's `ndim`); fewer where fewer vary. With 1 the scores are those of an
    /// [`IsolationForest`](super::IsolationForest) in distribution.
    pub n_columns: usize,
    /// Number of trees, 1 to 100,000.
    pub n_trees: usize,
    /// Rows drawn for each tree, without replacement, at least 2; absent, or more than there are: all.
    pub sample_size: Option<usize>,
    /// Greatest number of splits on a path, at least 1; absent: log2 of the sample size, rounded up.
    pub max_depth: Option<u32>,
}

impl Default for ExtendedForestParams {
    fn default() -> Self {
        let IsolationForestParams { n_trees, sample_size, max_depth } = IsolationForestParams::default();
        Self { n_columns: 3, n_trees, sample_size, max_depth }
    }
}

const MAX_COLUMNS: usize = 1000;
/// Draws among all columns before the node's rows are read in full.
const MAX_REJECTIONS: usize = 64;
/// Directions drawn before one of a single column is taken.
const MAX_DIRECTIONS: usize = 8;

impl ExtendedForestParams {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] names the first that is outside.
    pub fn check(&self) -> Result<()> {
        if !(1..=MAX_COLUMNS).contains(&self.n_columns) {
            let found = self.n_columns.to_string();
            return Err(Error::Parameter {
                name: "n_columns",
                found,
                expected: format!("1 to {MAX_COLUMNS}"),
            });
        }
        let Self { n_trees, sample_size, max_depth, .. } = *self;
        IsolationForestParams { n_trees, sample_size, max_depth }.check()
    }

    /// Fits on rows that lie apart in memory, as [`IsolationForestParams::fit_rows`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn fit_rows(&self, rows: &[&[f32]], seed: u64) -> Result<ExtendedForest> {
        self.grow(rows, None, seed)
    }

    /// Fits on rows drawn by weight, as [`IsolationForestParams::fit_weighted`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn fit_weighted(&self, rows: &[&[f32]], weights: &[f64], seed: u64) -> Result<ExtendedForest> {
        self.grow(rows, Some(weights), seed)
    }

    fn grow(&self, rows: &[&[f32]], weights: Option<&[f64]>, seed: u64) -> Result<ExtendedForest> {
        self.check()?;
        super::check_lengths(rows)?;
        let (n_rows, n_features) = (rows.len(), rows.first().map_or(0, |row| row.len()));
        super::check_shape(n_rows, n_features)?;
        let sample_size = self.sample_size.map_or(n_rows, |size| size.min(n_rows));
        if let Some(weights) = weights {
            weighted::check(weights, n_rows, sample_size)?;
        }
        let max_depth = self.max_depth.unwrap_or_else(|| sample_size.next_power_of_two().ilog2());
        let samples = Rows(rows);
        let trees: Vec<Result<Tree>> = (0..self.n_trees)
            .into_par_iter()
            .map(|tree| {
                let mut rng = Rng::derived(seed, tree as u64);
                let rows = weighted::draw_rows(n_rows, sample_size, weights, &mut rng);
                Grower { samples: &samples, n_columns: self.n_columns, max_depth, rng, values: Vec::new() }
                    .grow(rows)
            })
            .collect();
        let trees = trees.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(ExtendedForest { trees: Trees::join(&trees, self.n_columns)?, n_features, sample_size })
    }
}

/// A node whose split is still to be found.
struct Pending {
    node_idx: usize,
    /// Its rows are `rows[start..end]` of its tree.
    start: usize,
    end: usize,
    depth: u32,
    /// The only columns that may vary in it; `None`: any may.
    candidates: Option<Rc<[u32]>>,
}

/// What grows one tree.
struct Grower<'a> {
    samples: &'a Rows<'a>,
    n_columns: usize,
    max_depth: u32,
    rng: Rng,
    /// Values of a column, in the order of the node's rows.
    values: Vec<f32>,
}

impl Grower<'_> {
    fn grow(mut self, mut rows: Vec<u32>) -> Result<Tree> {
        let mut tree = Tree::default();
        tree.nodes.push(Node::leaf(0.0));
        let mut pending =
            vec![Pending { node_idx: 0, start: 0, end: rows.len(), depth: 0, candidates: None }];
        while let Some(mut node) = pending.pop() {
            let range = node.start..node.end;
            let found = if range.len() >= 2 && node.depth < self.max_depth {
                self.split(&mut node, &rows[range.clone()])?
            } else {
                None
            };
            let Some((direction, projections, split)) = found else {
                let path_length = f64::from(node.depth) + average_path_length(range.len());
                tree.nodes[node.node_idx] = Node::leaf(path_length);
                continue;
            };
            let (left, right): (Vec<_>, Vec<_>) =
                rows[range.clone()].iter().zip(&projections).partition(|(_, value)| **value <= split);
            let middle = node.start + left.len();
            let ordered: Vec<u32> = left.into_iter().chain(right).map(|(&row, _)| row).collect();
            rows[range].copy_from_slice(&ordered);
            let first = tree.push(&direction, self.n_columns);
            let child = tree.nodes.len();
            tree.nodes[node.node_idx] = Node { split, left: child as u32, first };
            tree.nodes.extend([Node::leaf(0.0), Node::leaf(0.0)]);
            let depth = node.depth + 1;
            let right = Pending {
                node_idx: child + 1,
                start: middle,
                end: node.end,
                depth,
                candidates: node.candidates.clone(),
            };
            pending.extend([right, Pending { node_idx: child, end: middle, depth, ..node }]);
        }
        Ok(tree)
    }

    /// A direction, the rows' places on it, and the place of the split; `None` if all rows are equal.
    #[allow(clippy::type_complexity)]
    fn split(
        &mut self,
        node: &mut Pending,
        rows: &[u32],
    ) -> Result<Option<(Vec<(u32, f32)>, Vec<f64>, f64)>> {
        for attempt in 0..=MAX_DIRECTIONS {
            let n_wanted = if attempt < MAX_DIRECTIONS { self.n_columns } else { 1 };
            let columns = self.draw_columns(node, rows, n_wanted)?;
            if columns.is_empty() {
                return Ok(None);
            }
            let direction = self.draw_direction(&columns, rows);
            let places: Vec<f64> =
                rows.iter().map(|&row| place(&direction, self.samples.0[row as usize])).collect();
            let least = places.iter().fold(f64::INFINITY, |least, &p| least.min(p));
            let greatest = places.iter().fold(f64::NEG_INFINITY, |greatest, &p| greatest.max(p));
            // Columns may cancel each other; one alone that varies cannot.
            if least < greatest {
                let split = least + self.rng.uniform() * (greatest - least);
                let split = if split < greatest { split } else { least };
                return Ok(Some((direction, places, split)));
            }
        }
        Ok(None)
    }

    /// Columns that vary in the node, uniformly among those, without replacement; fewer than wanted if fewer vary.
    fn draw_columns(&mut self, node: &mut Pending, rows: &[u32], n_wanted: usize) -> Result<Vec<u32>> {
        let mut drawn = Vec::with_capacity(n_wanted);
        let mut n_rejected = 0;
        while drawn.len() < n_wanted {
            let n_candidates =
                node.candidates.as_ref().map_or(self.samples.n_features(), |listed| listed.len());
            if n_rejected >= MAX_REJECTIONS || n_candidates <= n_wanted {
                let mut left = self.varying(node, rows)?;
                left.retain(|column| !drawn.contains(column));
                while drawn.len() < n_wanted && !left.is_empty() {
                    drawn.push(left.swap_remove(self.rng.below(left.len())));
                }
                break;
            }
            let position = self.rng.below(n_candidates);
            let column = node.candidates.as_ref().map_or(position as u32, |listed| listed[position]);
            if !drawn.contains(&column) && self.varies(column, rows)? {
                drawn.push(column);
            } else {
                n_rejected += 1;
            }
        }
        Ok(drawn)
    }

    /// Lists the columns that vary in the node; its children look at no others.
    fn varying(&mut self, node: &mut Pending, rows: &[u32]) -> Result<Vec<u32>> {
        let listed = match &node.candidates {
            None => self.samples.varying(rows),
            Some(listed) => listed.to_vec(),
        };
        let mut varying = Vec::with_capacity(listed.len());
        for column in listed {
            if self.varies(column, rows)? {
                varying.push(column);
            }
        }
        node.candidates = Some(varying.as_slice().into());
        Ok(varying)
    }

    /// Whether a column varies over `rows`, whose values are then at hand.
    fn varies(&mut self, column: u32, rows: &[u32]) -> Result<bool> {
        self.samples.gather(column, rows, &mut self.values);
        if let Some(position) = first_not_finite(&self.values) {
            let index = rows[position] as usize * self.samples.n_features() + column as usize;
            return Err(Error::NotFinite { what: "samples", index });
        }
        Ok(self.values.iter().any(|value| *value != self.values[0]))
    }

    /// A weight for each column; the greatest is 1 or -1, as only ratios matter.
    fn draw_direction(&mut self, columns: &[u32], rows: &[u32]) -> Vec<(u32, f32)> {
        let mut weights = Vec::with_capacity(columns.len());
        for &column in columns {
            self.samples.gather(column, rows, &mut self.values);
            let n = self.values.len() as f64;
            let mean = self.values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let variance = self.values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
            weights.push(self.rng.normal() / variance.sqrt());
        }
        let greatest = weights.iter().fold(0.0, |greatest: f64, w| greatest.max(w.abs()));
        columns.iter().zip(weights).map(|(&column, weight)| (column, (weight / greatest) as f32)).collect()
    }
}

/// Where a row lies on a direction; in f64, so that a fit and a score agree to the bit.
fn place(direction: &[(u32, f32)], row: &[f32]) -> f64 {
    direction.iter().map(|&(column, weight)| f64::from(weight) * f64::from(row[column as usize])).sum()
}

impl Fit for ExtendedForestParams {
    type Model = ExtendedForest;

    /// Fits on `[n, n_features]`; errors as in [`fit_rows`](ExtendedForestParams::fit_rows).
    fn fit(&self, samples: ArrayView2<'_, f32>, seed: u64) -> Result<ExtendedForest> {
        let samples = samples.as_standard_layout();
        let rows = contiguous_rows(&samples.view()).expect("rows of the standard layout are contiguous");
        self.fit_rows(&rows, seed)
    }
}

/// A fitted extended isolation forest.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtendedForest {
    trees: Trees,
    n_features: usize,
    sample_size: usize,
}

impl ExtendedForest {
    /// Number of trees.
    pub fn n_trees(&self) -> usize {
        self.trees.n_trees()
    }

    /// Number of nodes of all trees, leaves included.
    pub fn n_nodes(&self) -> usize {
        self.trees.n_nodes()
    }

    /// The most columns of a split.
    pub fn n_columns(&self) -> usize {
        self.trees.n_columns()
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

    /// The score of one image's features, in (0, 1], as
    /// [`IsolationForest::score_row`](super::IsolationForest::score_row); infinite if a feature is not finite.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if `row` has another length than the samples of the fit.
    pub fn score_row(&self, row: &[f32]) -> Result<f32> {
        if row.len() != self.n_features {
            return Err(super::wrong_width(self.n_features, row.len()));
        }
        if first_not_finite(row).is_some() {
            return Ok(f32::INFINITY);
        }
        Ok(score_of(self.mean_path_length(row), self.sample_size))
    }

    /// The forest as plain arrays.
    pub fn to_arrays(&self) -> ExtendedForestArrays {
        self.trees.to_arrays()
    }

    /// A forest from arrays, which need not be trusted.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the arrays are no forest of splits of `n_columns` over `n_features` columns; [`Error::Parameter`] if
    /// `n_columns` or `sample_size` is out of its range.
    pub fn from_arrays(
        arrays: &ExtendedForestArrays,
        n_columns: usize,
        n_features: usize,
        sample_size: usize,
    ) -> Result<Self> {
        ExtendedForestParams { n_columns, sample_size: Some(sample_size), ..Default::default() }.check()?;
        Ok(Self { trees: Trees::from_arrays(arrays, n_columns, n_features)?, n_features, sample_size })
    }
}

impl Detector for ExtendedForest {
    fn n_features(&self) -> usize {
        self.n_features
    }

    /// Scores as [`score_row`](ExtendedForest::score_row) does, rows in parallel.
    fn score(&self, features: ArrayView2<'_, f32>) -> Result<Array1<f32>> {
        let features = features.as_standard_layout();
        let rows = contiguous_rows(&features.view()).expect("rows of the standard layout are contiguous");
        if features.ncols() != self.n_features {
            return Err(super::wrong_width(self.n_features, features.ncols()));
        }
        Ok(rows.par_iter().map(|row| self.score_row(row)).collect::<Result<Vec<f32>>>()?.into())
    }
}

#[cfg(test)]
mod tests;
