//! Rows that are equal or nearly so, found once a fit: splitting them by drawing columns at random would take for ever.
//!
//! Images of a run at rest repeat. A node that holds only copies of one row is a leaf; a node whose rows differ in a few
//! of a million columns must draw among those few. Rows that agree in a sketch of some random columns are compared in
//! full with the first of them, their hub, and the columns in which they differ from it are kept.

use super::samples::Samples;
use crate::rng::Rng;
use crate::{Error, Result};
use rayon::prelude::*;

/// Columns of the sketch: rows that differ in 5 % of all columns agree in it with probability 4 %.
const N_SKETCH: usize = 64;
/// Below this, reading every column is cheaper than knowing twins.
const MIN_FEATURES: usize = 1024;
/// Twins differ from their hub in less than one column in so many.
const MAX_SHARE: usize = 32;
/// If at most so many columns of the sketch vary at all, the varying columns are listed before trees are grown.
const FEW_VARYING: usize = 6;
/// Hubs tried for rows of one sketch. Rows left over are treated as unlike all others, which is slower, not wrong.
const MAX_HUBS: usize = 4;
const ALONE: u32 = u32::MAX;

pub(super) struct Twins {
    /// By row: the hub, or `ALONE`.
    hub: Vec<u32>,
    /// By row: the columns, ascending, in which it differs from its hub.
    differing: Vec<Vec<u32>>,
    any: bool,
    /// All columns that vary over the rows, where they are known to be few.
    pub(super) varying: Option<Vec<u32>>,
}

impl Twins {
    /// Finds the twins among all rows; a function of samples and seed only.
    pub(super) fn find<S: Samples>(samples: &S, seed: u64) -> Result<Self> {
        let (n_rows, n_features) = (samples.n_rows(), samples.n_features());
        let mut twins =
            Self { hub: vec![ALONE; n_rows], differing: vec![Vec::new(); n_rows], any: false, varying: None };
        if n_features < MIN_FEATURES {
            return Ok(twins);
        }
        let mut sketches: Vec<(u64, u32)> = (0..n_rows as u32).map(|row| (0, row)).collect();
        if sketch(samples, seed, &mut sketches)? <= FEW_VARYING {
            let rows: Vec<u32> = (0..n_rows as u32).collect();
            twins.varying = Some(samples.varying(&rows));
        }
        sketches.sort_unstable();
        let alike: Vec<Vec<u32>> = sketches
            .chunk_by(|a, b| a.0 == b.0)
            .filter(|group| group.len() > 1)
            .map(|group| group.iter().map(|&(_, row)| row).collect())
            .collect();
        for group in alike {
            twins.compare(samples, group);
        }
        Ok(twins)
    }

    /// Compares rows of one sketch with the first of them, and what is left over again.
    fn compare<S: Samples>(&mut self, samples: &S, mut group: Vec<u32>) {
        let limit = samples.n_features() / MAX_SHARE;
        for _ in 0..MAX_HUBS {
            let Some((&hub, others)) = group.split_first() else { return };
            let differences: Vec<_> =
                others.par_iter().map(|&row| (row, samples.differences(hub, row, limit))).collect();
            let mut left = Vec::new();
            for (row, differing) in differences {
                let Some(differing) = differing else {
                    left.push(row);
                    continue;
                };
                self.hub[hub as usize] = hub;
                self.hub[row as usize] = hub;
                self.differing[row as usize] = differing;
                self.any = true;
            }
            group = left;
        }
    }

    /// Whether all of `rows` have one hub.
    #[inline]
    pub(super) fn share_hub(&self, rows: &[u32]) -> bool {
        if !self.any {
            return false;
        }
        let hub = self.hub[rows[0] as usize];
        hub != ALONE && rows.iter().all(|&row| self.hub[row as usize] == hub)
    }

    /// The columns, ascending, that are not constant over `rows`, which share a hub.
    pub(super) fn varying<S: Samples>(&self, samples: &S, rows: &[u32]) -> Vec<u32> {
        let mut columns: Vec<u32> =
            rows.iter().flat_map(|&row| self.differing[row as usize].iter().copied()).collect();
        columns.sort_unstable();
        // A column in which some rows differ from the hub and some do not varies; if all differ, they may still agree.
        columns
            .chunk_by(|a, b| a == b)
            .filter(|same| same.len() < rows.len() || varies(samples, rows, same[0]))
            .map(|same| same[0])
            .collect()
    }
}

/// Whether `column` is not constant over `rows`.
pub(super) fn varies<S: Samples>(samples: &S, rows: &[u32], column: u32) -> bool {
    let first = samples.value(rows[0], column);
    rows[1..].iter().any(|&row| samples.value(row, column) != first)
}

/// Hashes some random columns of every row; returns how many of them vary.
fn sketch<S: Samples>(samples: &S, seed: u64, sketches: &mut [(u64, u32)]) -> Result<usize> {
    // No tree has this index.
    let mut rng = Rng::derived(seed, u64::MAX);
    let rows: Vec<u32> = sketches.iter().map(|&(_, row)| row).collect();
    let mut values = Vec::with_capacity(rows.len());
    let mut n_varying = 0;
    for _ in 0..N_SKETCH {
        let column = rng.below(samples.n_features()) as u32;
        samples.gather(column, &rows, &mut values);
        n_varying += usize::from(values.iter().any(|v| *v != values[0]));
        for (row, ((hash, _), value)) in sketches.iter_mut().zip(&values).enumerate() {
            if !value.is_finite() {
                return Err(not_finite(samples, row, column));
            }
            // Adding zero turns -0 into 0, which is equal to it.
            let bits = u64::from((value + 0.0).to_bits());
            *hash = (hash.rotate_left(23) ^ bits).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }
    Ok(n_varying)
}

pub(super) fn not_finite<S: Samples>(samples: &S, row: usize, column: u32) -> Error {
    Error::NotFinite { what: "samples", index: row * samples.n_features() + column as usize }
}

#[cfg(test)]
mod tests {
    use super::super::samples::Rows;
    use super::*;

    fn distinct(n_rows: usize, n_features: usize) -> Vec<Vec<f32>> {
        let mut rng = Rng::new(3);
        (0..n_rows).map(|_| (0..n_features).map(|_| rng.uniform() as f32).collect()).collect()
    }

    #[test]
    fn equal_and_nearly_equal_rows_are_twins_and_others_are_not() {
        let mut matrix = distinct(3, 2048);
        let mut near = matrix[0].clone();
        near[7] += 1.0;
        near[2000] += 1.0;
        matrix.extend([matrix[0].clone(), near.clone(), near]);
        let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
        let samples = Rows(&rows);
        // The sketch of some seeds may hit column 7 or 2000; this one does not.
        let twins = Twins::find(&samples, 1).expect("finite");
        assert!(twins.share_hub(&[0, 3, 4, 5]));
        assert!(!twins.share_hub(&[0, 1]) && !twins.share_hub(&[1, 2]));
        assert_eq!(twins.varying(&samples, &[0, 3]), [0u32; 0]);
        assert_eq!(
            twins.varying(&samples, &[4, 5]),
            [0u32; 0],
            "both differ from the hub, not from each other"
        );
        assert_eq!(twins.varying(&samples, &[0, 4]), [7, 2000]);
        assert_eq!(twins.varying(&samples, &[3, 4, 5]), [7, 2000]);
    }

    #[test]
    fn few_varying_columns_are_listed() {
        let mut matrix = vec![vec![0.25f32; 4096]; 5];
        for (i, row) in matrix.iter_mut().enumerate() {
            row[100] = i as f32;
            row[4095] = -(i as f32);
        }
        let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
        let twins = Twins::find(&Rows(&rows), 1).expect("finite");
        assert_eq!(twins.varying, Some(vec![100, 4095]));
    }
}
