//! A part of the trees of a run's forest, and the rows that they are on: in this process, or in others that keep a part each.
//!
//! A tree depends on the seed, its number, the rows and the order in which they came. So whoever keeps some of the trees needs all rows, and the
//! path lengths of a row, put together in the order of the trees, are those of one process, bit for bit.

use super::kept_forest::{KeptForest, Sample};
use super::rows::{RowFormat, Rows};
use crate::detector::IsolationForestParams;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::ops::Range;

/// Which part of a forest it is, and all that its trees depend on but the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareParams {
    /// Of the forest.
    pub forest: IsolationForestParams,
    /// How its rows are kept.
    pub rows: RowFormat,
    /// Of the run.
    pub seed: u64,
    /// The part, from 0, and the number of parts.
    pub part: (usize, usize),
}

impl ShareParams {
    /// The trees' numbers; none where there are more parts than trees.
    fn trees(&self) -> Range<usize> {
        let (part, n_parts) = self.part;
        let start = |part: usize| part * self.forest.n_trees / n_parts;
        start(part)..start(part + 1)
    }
}

/// What is done with a share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ShareWork {
    /// Rows go: so many of the oldest, then the newest until so many are left.
    Forget {
        /// How many of the oldest.
        n_oldest: usize,
        /// How many are left.
        n_left: usize,
    },
    /// The row at hand joins.
    Push(Sample),
    /// The trees follow the rows.
    Follow {
        /// Of the oldest rows, those that the trees leave out.
        n_ignored: usize,
        /// Whether trees are kept, and not grown for each row that is judged.
        is_kept: bool,
    },
    /// The row at hand is put through the trees.
    Measure {
        /// Of trees that are grown for it.
        seed: u64,
    },
}

/// The share itself.
#[derive(Debug)]
pub(super) struct TreeShare {
    params: ShareParams,
    /// From the first row on.
    rows: Option<Rows>,
    samples: VecDeque<Sample>,
    /// On the rows that are not ignored, if trees are kept.
    forest: Option<KeptForest>,
}

impl TreeShare {
    /// A share without rows.
    pub(super) fn new(params: ShareParams) -> Self {
        Self { params, rows: None, samples: VecDeque::new(), forest: None }
    }

    /// Of the forest that it is a part of.
    pub(super) fn forest_params(&self) -> &IsolationForestParams {
        &self.params.forest
    }

    /// The rows' samples, oldest first.
    pub(super) fn samples(&self) -> &VecDeque<Sample> {
        &self.samples
    }

    /// The number of rows.
    pub(super) fn n_rows(&self) -> usize {
        self.samples.len()
    }

    /// The row of a sample, as it is kept.
    pub(super) fn row(&self, row_idx: usize) -> Box<[f32]> {
        self.rows.as_ref().expect("there are as many rows as samples").row(row_idx)
    }

    /// Does something with the share; returns path lengths, one of each tree, where `row` is measured.
    ///
    /// - `row`: the one at hand, finite; where none is needed, empty.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`], [`Error::NotFinite`] and those of a fit, if the row or the rows are not such that a forest can be on them.
    pub(super) fn work(&mut self, work: &ShareWork, row: &[f32]) -> Result<Vec<f64>> {
        match *work {
            ShareWork::Forget { n_oldest, n_left } => self.forget(n_oldest, n_left),
            ShareWork::Push(sample) => self.push(sample, row)?,
            ShareWork::Follow { n_ignored, is_kept } => self.follow(n_ignored, is_kept)?,
            ShareWork::Measure { seed } => return self.measure(row, seed),
        }
        Ok(Vec::new())
    }

    fn forget(&mut self, n_oldest: usize, n_left: usize) {
        let Some(rows) = &mut self.rows else { return };
        rows.forget(n_oldest, n_left);
        self.samples.drain(..n_oldest.min(self.samples.len()));
        self.samples.truncate(n_left);
    }

    fn push(&mut self, sample: Sample, row: &[f32]) -> Result<()> {
        // The first row may be of another length than those forgotten.
        let rows = match self.rows.take().filter(|rows| !rows.is_empty()) {
            Some(rows) => rows,
            None => Rows::new(self.params.rows, row.len())?,
        };
        self.rows.insert(rows).push(row)?;
        self.samples.push_back(sample);
        Ok(())
    }

    fn follow(&mut self, n_ignored: usize, is_kept: bool) -> Result<()> {
        let Some(rows) = &mut self.rows else { return Ok(()) };
        rows.ignore(n_ignored);
        let before = self.forest.take();
        let trees = self.params.trees();
        if is_kept && !trees.is_empty() {
            let samples: Vec<Sample> = self.samples.iter().skip(n_ignored).copied().collect();
            let ShareParams { forest, seed, .. } = &self.params;
            self.forest = Some(rows.follow(before, forest, trees, &samples, *seed)?);
        }
        rows.reserve();
        Ok(())
    }

    /// The path length of a row in each tree.
    pub(super) fn measure(&self, row: &[f32], seed: u64) -> Result<Vec<f64>> {
        let trees = self.params.trees();
        match (&self.forest, &self.rows) {
            _ if trees.is_empty() => Ok(Vec::new()),
            (Some(forest), _) => Ok(forest.path_lengths(row)),
            (None, Some(rows)) => rows.path_lengths(&self.params.forest, row, seed, trees),
            (None, None) => Err(Error::TooFewSamples { what: "isolation forest", wanted: 2, found: 0 }),
        }
    }
}

/// What another process is asked to do with its share of a run's trees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareRequest {
    /// Unlike that of any other run of the asking process.
    pub run: u64,
    /// What the share is made from if it is not there; its part is the keeper's own.
    pub params: ShareParams,
    /// The rows that it has: with others it is not the one that is meant.
    pub n_rows: usize,
    /// What is to be done, in order; nothing: the share is not needed any more.
    pub work: Vec<ShareWork>,
    /// Whether the row at hand is the one that came with the request before.
    pub same_row: bool,
}

/// The shares of runs that a process keeps for another.
#[derive(Debug, Default)]
pub struct KeptShares {
    /// Each with the row at hand.
    shares: HashMap<u64, (TreeShare, Vec<f32>)>,
}

impl KeptShares {
    /// The number of runs of which a share is kept.
    #[cfg(test)]
    pub(super) fn n_runs(&self) -> usize {
        self.shares.len()
    }

    /// Does what is asked; returns path lengths, one of each tree, where a row is measured.
    ///
    /// - `part`: which part of the forest this process keeps.
    /// - `row`: the row at hand, if it came with the request; else empty.
    ///
    /// # Errors
    ///
    /// Those of the work, and [`Error::Record`] if the share is not the one that is meant. There is no share of the run, then.
    pub fn answer(&mut self, request: &ShareRequest, part: usize, row: Vec<f32>) -> Result<Vec<f64>> {
        let ShareRequest { run, params, n_rows, work, same_row } = request;
        let known = self.shares.remove(run);
        if work.is_empty() {
            return Ok(Vec::new());
        }
        let new = || {
            let part = (part, params.part.1);
            (TreeShare::new(ShareParams { part, ..params.clone() }), Vec::new())
        };
        let (mut share, before) = known.unwrap_or_else(new);
        if share.n_rows() != *n_rows {
            let reason = format!("a part of its trees is on {} rows, {n_rows} are expected", share.n_rows());
            return Err(Error::Record { reason });
        }
        let row = if *same_row || row.is_empty() { before } else { row };
        let mut lengths = Vec::new();
        for work in work {
            lengths.append(&mut share.work(work, &row)?);
        }
        self.shares.insert(*run, (share, row));
        Ok(lengths)
    }
}

/// Path lengths of each keeper's trees, in the order of the parts, once all have answered.
pub type Asked<'a> = Box<dyn FnOnce() -> Result<Vec<f64>> + 'a>;

/// Other processes that keep a part of a run's trees each.
pub trait TreeKeepers: Debug + Send + Sync {
    /// How many there are.
    fn n_keepers(&self) -> usize;

    /// Asks all of them; the first keeper has part 1. They work until the answer is asked for.
    ///
    /// - `row`: the row at hand; empty if there is none, or it is the one before.
    ///
    /// # Errors
    ///
    /// Those of the work, and that they cannot be reached. A keeper that could not do its work has no share of this run any more.
    fn ask<'a>(&'a self, request: &ShareRequest, row: &[f32]) -> Result<Asked<'a>>;
}
