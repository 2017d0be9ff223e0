//! An isolation forest that images come into and go from, at a cost that grows as the logarithm of their number.
//!
//! A tree on `n` rows is drawn from a distribution `T(n)`: at each node a column uniform among the `d` that vary, then a value uniform
//! in its range (Liu, Ting, Zhou 2008, algorithm 2). Given a tree from `T(n)`, [`insert`](IncrementalForest::insert) makes one from
//! `T(n + 1)`, exactly, and reads and changes little of it. Guha, Mishra, Roy, Schrijvers ("Robust random cut forest based anomaly
//! detection on streams", ICML 2016) do so for trees whose column is drawn in proportion to its range; where it is uniform, a row that widens
//! the ranges changes how likely each column is, and the following is needed.
//!
//! Let `r(q)` be the range of column `q` over the node's rows `S`, divided by its range over `S` and the new row `x`: the chance that a split
//! of `q` drawn anew does not part `x` from all of `S`. At every node that `x` comes by, from the root on:
//!
//! 1. Draw a column `q'` uniformly among those that vary over `S` and `x`. With the chance `1 - r(q')` a split of `q'` parts `x` from `S`:
//!    put it above the node, whose tree is as good a tree on `S` as any. Done.
//! 2. Else the new column has the distribution `r(q) / sum r`, which `q'` now has, and so has the node's own `q` if it is kept with the
//!    chance `r(q)`. If it is kept, go down to the child on `x`'s side.
//! 3. If not, grow anew what is below the node, beginning with a split of `q'`. Done.
//!
//! [`remove`](IncrementalForest::remove) runs this backwards: a split that parts `x` from all others goes; else a column `q'` is drawn uniformly
//! among those that vary over `S`, and with the chance `r(q')` the node is kept, with `1 - r(q')` grown anew on `S`, beginning with
//! `q'`. (Of the trees that step 2 keeps and step 3 makes, the share of those kept, the mean of `r`, is the same for every column, and
//! the column of a tree that was replaced has the distribution `(1 - r(q)) / sum (1 - r)`, which `q'` then has.)
//!
//! # What a change reads
//!
//! A path has at most `log2 n` levels, rounded up, and at each the following is read:
//!
//! - To know whether a split parts `x` from `S`: a uniform number is compared with `r(q')`, which is 1 where `x` lies within the range of `S`, and is at least
//!   what it is for the few rows looked at so far. After `k` of them `x` is still beyond all with the chance `2 / (k + 1)` for a row like the others,
//!   and then the number still does not tell with the chance `1 - r`. So a bounded number is looked at, and all `n` of the node if `n / 4` did not tell:
//!   `8 (1 - r)` values on average, `1 - r` for a row that is farthest out.
//! - Where the rows seen agree with `x`, the column is constant, and another is drawn, or no split of it parts `x` from `S`. That is left open until a column is
//!   drawn that would part them, with a chance of `O(1 / n)` (`draw.rs`): so columns in which few rows differ from all others, of which
//!   features after a rectifier have many, are not read through.
//! - Growing anew a node of `n` rows takes `n log n`. Its chance, the mean over the columns of `1 - r`, is `2 / (n + 1)`, for a row to be the farthest, times the share `g` of the
//!   range that the farthest row adds: `O(g log n)` a level. `g` is about `1 / n` for uniform, `1 / (4 ln n)` for normal and `1 / ln n` for exponential values: `O(1)`
//!   a level, so the logarithm of the rows in all. It is a constant for tails as heavy as those of `1 / x`, and where each row lies beyond all before
//!   it in a share `s` of the columns, as in a run that drifts, there is `s / n` for `2 g / n`: the cost has then a term in the square of the logarithm, whose factor is small.
//!
//! Reads, of values and nodes, of an insertion for each bit of the number of rows, at 128 and at 8,192 rows (`counts.rs`): uniform values 29 and 27, normal 30 and
//! 29, normal ones after a rectifier 31 and 31, `1 / x` 34 and 35, a drift in every second column 39 and 58. On images of real runs an insertion grows 1 to 3 rows
//! anew, so that to put that off would save nothing.

mod arena;
mod draw;
mod tree;

use super::grow::N_TOGETHER;
use super::nodes::{average_path_length, score_of};
use super::samples::Samples;
use super::stored::Stored;
use super::{IsolationForestParams, SamplePool, check_shape, groups_of, wrong_width};
use crate::finite::first_not_finite;
use crate::rng::Rng;
use crate::{Error, Result};
use arena::Arena;
use rayon::prelude::*;
use std::collections::VecDeque;
use std::ops::Range;
use tree::Gardener;

/// An isolation forest on the rows of a [`SamplePool`], kept while they come and go.
///
/// At any time its trees have the distribution of those that [`IsolationForestParams::fit_pool`] grows on the same rows, but
/// they are not the same trees: each depends on the seeds of all changes before. The depth of a path is limited as for these rows.
///
/// # Examples
///
/// ```
/// use anomalyd_models::detector::{IncrementalForest, IsolationForestParams, SamplePool};
///
/// let mut pool = SamplePool::<f32>::new(2)?;
/// for step in 0..20 {
///     pool.push(&[step as f32, (step % 7) as f32])?;
/// }
/// let params = IsolationForestParams { n_trees: 200, ..Default::default() };
/// let mut forest = IncrementalForest::fit_pool(&params, &pool, 1)?;
/// assert!(forest.score_row(&[90.0, 3.0])? > forest.score_row(&[11.0, 3.0])?);
///
/// pool.push(&[20.0, 6.0])?;
/// forest.insert(&pool, 20, 2)?;
/// // The oldest goes: first from the forest, then from the pool.
/// forest.remove(&pool, 0, 3)?;
/// pool.pop_front();
/// assert_eq!(forest.n_rows(), 20);
/// # Ok::<(), anomalyd_models::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct IncrementalForest {
    trees: Vec<Arena>,
    /// The number of the first in the forest that they are of.
    first_tree: usize,
    n_features: usize,
    /// Depth to which trees are split; absent: as many rows demand.
    fixed_depth: Option<u32>,
    max_depth: u32,
    /// Rows by the numbers that the pool gave them, ascending.
    rows: VecDeque<usize>,
}

impl IncrementalForest {
    /// Fits on all samples of a pool.
    ///
    /// # Errors
    ///
    /// [`Error::TooFewSamples`] for fewer than 2 rows; [`Error::Parameter`] as in [`IsolationForestParams::check`], and for a
    /// `sample_size` smaller than the number of rows: every tree has them all.
    pub fn fit_pool<E: Stored>(
        params: &IsolationForestParams,
        pool: &SamplePool<E>,
        seed: u64,
    ) -> Result<Self> {
        Self::fit_oldest(params, pool, pool.n_ever() - pool.first_sample(), seed)
    }

    /// Fits on the oldest `n_rows` samples of a pool, those that it [ignores](SamplePool::ignore) not counted, for the others to be
    /// inserted.
    ///
    /// # Errors
    ///
    /// As in [`fit_pool`](Self::fit_pool); [`Error::Parameter`] for more rows than there are.
    pub fn fit_oldest<E: Stored>(
        params: &IsolationForestParams,
        pool: &SamplePool<E>,
        n_rows: usize,
        seed: u64,
    ) -> Result<Self> {
        Self::fit_trees(params, pool, n_rows, seed, 0..params.n_trees)
    }

    /// These trees of the forest of [`fit_oldest`](Self::fit_oldest), at least one: whatever comes, they stay what they would be in it.
    ///
    /// # Errors
    ///
    /// Those of [`fit_oldest`](Self::fit_oldest).
    pub(crate) fn fit_trees<E: Stored>(
        params: &IsolationForestParams,
        pool: &SamplePool<E>,
        n_rows: usize,
        seed: u64,
        numbers: Range<usize>,
    ) -> Result<Self> {
        params.check()?;
        let view = pool.prepared_view();
        let n_features = view.n_features();
        check_shape(n_rows, n_features)?;
        let refuse =
            |name, found: usize, expected| Err(Error::Parameter { name, found: found.to_string(), expected });
        if n_rows > view.n_rows() {
            return refuse("n_rows", n_rows, format!("at most the pool's {}", view.n_rows()));
        }
        if let Some(size) = params.sample_size.filter(|&size| size < n_rows) {
            let expected = format!("none, or at least the number of rows, {n_rows}");
            return refuse("sample_size", size, expected);
        }
        let twins = view.twins()?;
        let max_depth = depth_for(params.max_depth, n_rows);
        let trees = groups_of(numbers.clone()).into_par_iter().map_init(
            || Gardener::new(&view, &twins, pool.first_sample() as u32, max_depth),
            |gardener, trees| gardener.plant(n_rows, trees.map(|tree| Rng::derived(seed, tree as u64))),
        );
        Ok(Self {
            trees: trees.flatten_iter().collect(),
            first_tree: numbers.start,
            n_features,
            fixed_depth: params.max_depth,
            max_depth,
            rows: (pool.first_sample()..pool.first_sample() + n_rows).collect(),
        })
    }

    /// The number of trees.
    pub fn n_trees(&self) -> usize {
        self.trees.len()
    }

    /// The number of rows that each tree has.
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// Takes in a row of the pool.
    ///
    /// - `row_idx`: of the row in the pool, which still has all rows that the forest has.
    /// - `seed`: of the random choices of this change, unlike that of any other.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] if the pool has no such row, or ignores it, or the forest has it; [`Error::Shape`] for a pool of another
    /// width; [`Error::Parameter`] if the pool has forgotten or ignores a row that the forest has. The forest is then unchanged.
    pub fn insert<E: Stored>(&mut self, pool: &SamplePool<E>, row_idx: usize, seed: u64) -> Result<()> {
        let number = self.check_row(pool, row_idx)?;
        let position = self.rows.partition_point(|&row| row < number);
        if self.rows.get(position) == Some(&number) {
            return Err(unknown_row(row_idx, "a row that the forest does not have"));
        }
        let max_depth = depth_for(self.fixed_depth, self.rows.len() + 1);
        let is_deeper = max_depth > self.max_depth;
        self.change(pool, max_depth, seed, |gardener, trees, rngs| {
            if is_deeper {
                trees
                    .iter_mut()
                    .zip(&mut *rngs)
                    .for_each(|(tree, rng)| gardener.deepen(tree, Arena::ROOT, 0, rng));
            }
            gardener.insert_each(trees, number as u32, rngs);
        });
        self.max_depth = max_depth;
        self.rows.insert(position, number);
        Ok(())
    }

    /// Takes out a row, which the pool still has.
    ///
    /// - `row_idx`, `seed`: as for [`insert`](Self::insert).
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert), and [`Error::Parameter`] if the forest does not have the row; [`Error::TooFewSamples`] if it has no more
    /// than two.
    pub fn remove<E: Stored>(&mut self, pool: &SamplePool<E>, row_idx: usize, seed: u64) -> Result<()> {
        let number = self.check_row(pool, row_idx)?;
        let Ok(position) = self.rows.binary_search(&number) else {
            return Err(unknown_row(row_idx, "a row that the forest has"));
        };
        if self.rows.len() <= 2 {
            let found = self.rows.len() - 1;
            return Err(Error::TooFewSamples { what: "isolation forest", wanted: 2, found });
        }
        let max_depth = depth_for(self.fixed_depth, self.rows.len() - 1);
        self.change(pool, max_depth, seed, |gardener, trees, rngs| {
            gardener.remove_each(trees, number as u32, rngs);
        });
        self.max_depth = max_depth;
        self.rows.remove(position);
        Ok(())
    }

    /// The number of a row, if the pool is one that this forest can follow.
    fn check_row<E: Stored>(&self, pool: &SamplePool<E>, row_idx: usize) -> Result<usize> {
        if pool.n_features() != self.n_features {
            return Err(wrong_width(self.n_features, pool.n_features()));
        }
        let (first, end) = (pool.first_sample(), pool.n_ever());
        let number = end - pool.n_rows() + row_idx;
        if number < first || number >= end {
            let n_ignored = first + pool.n_rows() - end;
            return Err(unknown_row(row_idx, &format!("{n_ignored} to {}", pool.n_rows() as i64 - 1)));
        }
        if self.rows.front().is_some_and(|&row| row < first)
            || self.rows.back().is_some_and(|&row| row >= end)
        {
            return Err(Error::Parameter {
                name: "pool",
                found: format!("rows {first} to {end} since it was empty"),
                expected: "all rows that the forest has; take a row out of the forest first".into(),
            });
        }
        Ok(number)
    }

    /// Changes all trees, [`N_TOGETHER`] at a time, each with a generator of its own.
    fn change<E: Stored>(
        &mut self,
        pool: &SamplePool<E>,
        max_depth: u32,
        seed: u64,
        change: impl Fn(&mut Gardener<'_, super::pool::View<'_, E>>, &mut [Arena], &mut [Rng]) + Sync,
    ) {
        let view = pool.prepared_view();
        let twins = view.twins().expect("the rows of a pool are finite");
        let (first, first_tree) = (pool.first_sample() as u32, self.first_tree);
        self.trees.par_chunks_mut(N_TOGETHER).enumerate().for_each_init(
            || Gardener::new(&view, &twins, first, max_depth),
            |gardener, (group, trees)| {
                let tree_idx = |i| (first_tree + group * N_TOGETHER + i) as u64;
                let mut rngs: Vec<Rng> = (0..trees.len()).map(|i| Rng::derived(seed, tree_idx(i))).collect();
                change(gardener, trees, &mut rngs);
            },
        );
    }

    /// The score of one image's features, as [`IsolationForest::score_row`](super::IsolationForest::score_row).
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for another length than the pool's rows have.
    pub fn score_row(&self, row: &[f32]) -> Result<f32> {
        if row.len() != self.n_features {
            return Err(wrong_width(self.n_features, row.len()));
        }
        Ok(if first_not_finite(row).is_some() { f32::INFINITY } else { self.score_finite(row) })
    }

    /// The score of features known to be finite, in (0, 1].
    ///
    /// # Panics
    ///
    /// If `row` is shorter than the pool's rows.
    pub fn score_finite(&self, row: &[f32]) -> f32 {
        score_of(self.mean_path_length(row), self.rows.len())
    }

    /// The mean over the trees of the path length of `row`, adjusted for leaves of several samples.
    ///
    /// # Panics
    ///
    /// If `row` is shorter than the pool's rows.
    pub fn mean_path_length(&self, row: &[f32]) -> f64 {
        let mut sum = 0.0;
        self.each_path_length(row, |length| sum += length);
        sum / self.trees.len() as f64
    }

    /// The path length of `row` in each tree.
    ///
    /// # Panics
    ///
    /// If `row` is shorter than the pool's rows.
    pub(crate) fn path_lengths(&self, row: &[f32]) -> Vec<f64> {
        let mut lengths = Vec::with_capacity(self.trees.len());
        self.each_path_length(row, |length| lengths.push(length));
        lengths
    }

    #[inline]
    fn each_path_length(&self, row: &[f32], mut hand_out: impl FnMut(f64)) {
        // Every step waits for a node and then for a value; the steps of several trees wait at the same time.
        const N_ABREAST: usize = 16;
        for trees in self.trees.chunks(N_ABREAST) {
            let mut nodes = [trees[0].node(Arena::ROOT); N_ABREAST];
            nodes.iter_mut().zip(trees).for_each(|(node, tree)| *node = tree.node(Arena::ROOT));
            let mut depths = [0; N_ABREAST];
            for depth in 1..=self.max_depth {
                let mut n_walking = 0;
                for ((node, reached), tree) in nodes.iter_mut().zip(&mut depths).zip(trees) {
                    if !node.is_leaf() {
                        let is_right = row[node.column as usize] > node.split;
                        *node = tree.node(if is_right { node.right } else { node.left });
                        *reached = depth;
                        n_walking += 1;
                    }
                }
                if n_walking == 0 {
                    break;
                }
            }
            for (node, depth) in nodes.iter().zip(depths).take(trees.len()) {
                hand_out(f64::from(depth) + average_path_length(node.count as usize));
            }
        }
    }
}

fn depth_for(fixed: Option<u32>, n_rows: usize) -> u32 {
    fixed.unwrap_or_else(|| n_rows.next_power_of_two().ilog2())
}

fn unknown_row(row_idx: usize, expected: &str) -> Error {
    Error::Parameter { name: "row_idx", found: row_idx.to_string(), expected: expected.into() }
}

#[cfg(test)]
mod counts;
#[cfg(test)]
mod tests;
