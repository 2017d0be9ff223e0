//! The forest of a run's earlier images, kept from image to image.
//!
//! What it is follows from the images that it is on and from nothing else, so that a run that goes back, or begins again from its stored
//! state, is judged by the same trees: it is fitted on the oldest images, as many as a number with no more than four binary digits before its
//! zeros, and the others were inserted one by one. So a new fit comes with every eighth to sixteenth part more images, and costs
//! little on the whole; to go back costs that fit and the insertions after it.

use crate::detector::{IncrementalForest, IsolationForestParams, SamplePool, Stored};
use crate::error::Result;
use crate::rng::Rng;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// An image that a forest is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Of its state; none has it twice.
    pub(super) id: u64,
    pub(super) step: i64,
}

/// A forest and what it is on.
#[derive(Debug)]
pub(super) struct KeptForest {
    forest: IncrementalForest,
    oldest: Sample,
    newest: Sample,
}

/// The images that the forest on `n_rows` is fitted on at once.
fn n_fitted(n_rows: usize) -> usize {
    let n_zeros = n_rows.checked_ilog2().unwrap_or(0).saturating_sub(3);
    n_rows >> n_zeros << n_zeros
}

impl KeptForest {
    /// Some trees of the forest on all samples of `rows`, from the one before if that leads there.
    ///
    /// - `trees`: which of all, at least one.
    /// - `samples`: as many as are not ignored, at least 2, in the same order.
    ///
    /// # Errors
    ///
    /// Those of a fit.
    pub(super) fn follow<E: Stored>(
        before: Option<Self>,
        params: &IsolationForestParams,
        trees: Range<usize>,
        rows: &SamplePool<E>,
        samples: &[Sample],
        seed: u64,
    ) -> Result<Self> {
        let n_ignored = rows.n_rows() - samples.len();
        // By step, not by a count of changes: a run that goes back comes by the same trees.
        let seed_of = |sample: Sample| Rng::derived(seed, sample.step as u64).next_u64();
        let n_fitted = n_fitted(samples.len());
        let leads_there = |kept: &Self| {
            let n_rows = kept.forest.n_rows();
            (n_fitted..=samples.len()).contains(&n_rows)
                && (kept.oldest, kept.newest) == (samples[0], samples[n_rows - 1])
        };
        let mut forest = match before.filter(leads_there) {
            Some(kept) => kept.forest,
            None => {
                let seed = seed_of(samples[n_fitted - 1]);
                IncrementalForest::fit_trees(params, rows, n_fitted, seed, trees)?
            }
        };
        for (sample_idx, &sample) in samples.iter().enumerate().skip(forest.n_rows()) {
            forest.insert(rows, n_ignored + sample_idx, seed_of(sample))?;
        }
        Ok(Self { forest, oldest: samples[0], newest: samples[samples.len() - 1] })
    }

    /// The path length of an image's features, which are finite, in each tree.
    pub(super) fn path_lengths(&self, row: &[f32]) -> Vec<f64> {
        self.forest.path_lengths(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(step: usize) -> Sample {
        Sample { id: step as u64, step: step as i64 }
    }

    fn row(step: usize) -> Vec<f32> {
        let mut rng = Rng::new(step as u64);
        (0..30).map(|_| (rng.normal() as f32).max(0.0)).collect()
    }

    #[test]
    fn images_fitted_at_once_are_most_of_all_and_their_number_seldom_changes() {
        for n_rows in 1..5000 {
            let n_fitted = n_fitted(n_rows);
            assert!(n_fitted <= n_rows && n_rows - n_fitted < n_rows / 8 + 1);
        }
        let changes = (2..=4096).filter(|&n_rows| n_fitted(n_rows) != n_fitted(n_rows - 1)).count();
        assert_eq!(changes, 14 + 8 * 8 + 1);
    }

    #[test]
    fn forest_is_the_same_whichever_way_a_run_came_to_its_images() {
        let params = IsolationForestParams { n_trees: 20, ..Default::default() };
        let follow = |before: Option<KeptForest>, rows: &SamplePool, first: usize, end: usize| {
            let samples: Vec<Sample> = (first..end).map(sample).collect();
            KeptForest::follow(before, &params, 0..20, rows, &samples, 3).expect("follows")
        };
        let odd: Vec<f32> = row(1).iter().map(|value| value * 3.0).collect();
        let mut rows = SamplePool::new(30).expect("not empty");
        let mut forest = None;
        let mut scores = Vec::new();
        for step in 0..60 {
            rows.push(&row(step)).expect("finite");
            if step >= 1 {
                let kept = follow(forest, &rows, 0, step + 1);
                scores.push(kept.path_lengths(&odd));
                forest = Some(kept);
            }
        }
        // Back to step 40, and on.
        rows.truncate(41);
        for step in 41..60 {
            rows.push(&row(step)).expect("finite");
            let kept = follow(forest, &rows, 0, step + 1);
            assert_eq!(kept.path_lengths(&odd), scores[step - 1], "{step}");
            forest = Some(kept);
        }
        // From what was stored.
        assert_eq!(follow(None, &rows, 0, 60).path_lengths(&odd), scores[58]);
        // The oldest are too old.
        rows.ignore(8);
        let window = follow(forest, &rows, 8, 60);
        assert_eq!(window.path_lengths(&odd), follow(None, &rows, 8, 60).path_lengths(&odd));
        assert_ne!(window.path_lengths(&odd), scores[58]);
    }
}
