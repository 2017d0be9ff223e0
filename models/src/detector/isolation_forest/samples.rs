//! How a forest reads its samples: by rows kept apart, by columns, or from a pool; never copied.

use super::memory::prefetch;
use super::twins::Twins;
use crate::Result;
use rayon::prelude::*;
use std::borrow::Cow;

/// A matrix of samples that a tree gathers from, one column of a few rows at a time.
pub(super) trait Samples: Sync {
    fn n_rows(&self) -> usize;
    fn n_features(&self) -> usize;

    fn value(&self, row: u32, column: u32) -> f32;

    /// Fills `values` with `column` of `rows`, which ascend.
    fn gather(&self, column: u32, rows: &[u32], values: &mut Vec<f32>);

    /// Asks for what a [`gather`](Self::gather) will read, without waiting for it.
    fn prefetch(&self, column: u32, rows: &[u32]);

    /// Asks for a first and a last line of that, so that their pages' addresses are translated when the others are asked for. A processor
    /// that waits for a translation does not look far ahead: the pages of several columns are best asked for at once.
    fn touch(&self, _column: u32, _rows: &[u32]) {}

    /// The columns in which two rows differ, ascending; `None` if there are more than `limit`.
    fn differences(&self, first: u32, second: u32, limit: usize) -> Option<Vec<u32>>;

    /// [`differences`](Self::differences) of each pair.
    fn differences_of(&self, pairs: &[[u32; 2]], limit: usize) -> Vec<Option<Vec<u32>>> {
        pairs.iter().map(|&[first, second]| self.differences(first, second, limit)).collect()
    }

    /// The columns that are not constant over `rows`, ascending; reads every value of them.
    fn varying(&self, rows: &[u32]) -> Vec<u32>;

    /// Whether `column` is known to be constant over all rows, without a look at them; `false` says nothing.
    fn is_known_constant(&self, _column: u32) -> bool {
        false
    }

    /// The rows that are equal or nearly so.
    fn twins(&self) -> Result<Cow<'_, Twins>>
    where
        Self: Sized,
    {
        // Two that look alike are a leaf, whether they are twins or not.
        Twins::find(self, 3).map(Cow::Owned)
    }
}

/// Rows of equal length, each contiguous: a row-major matrix, or images that came one by one.
pub(super) struct Rows<'a>(pub(super) &'a [&'a [f32]]);

/// A contiguous column-major matrix, faster to fit on than rows: what a split reads lies together.
pub(super) struct Columns<'a> {
    pub(super) values: &'a [f32],
    pub(super) n_rows: usize,
}

impl Columns<'_> {
    #[inline]
    fn column(&self, column: u32) -> &[f32] {
        &self.values[column as usize * self.n_rows..][..self.n_rows]
    }
}

/// Columns handled at once where whole rows are read: small enough for the flags and a row's piece to stay in cache.
const BLOCK: usize = 8192;
/// Values compared without a branch.
const LANES: usize = 64;
/// Values of four bytes in a cache line.
const LINE: usize = 16;

impl Samples for Rows<'_> {
    fn n_rows(&self) -> usize {
        self.0.len()
    }

    fn n_features(&self) -> usize {
        self.0.first().map_or(0, |row| row.len())
    }

    #[inline]
    fn value(&self, row: u32, column: u32) -> f32 {
        self.0[row as usize][column as usize]
    }

    #[inline]
    fn gather(&self, column: u32, rows: &[u32], values: &mut Vec<f32>) {
        values.clear();
        values.extend(rows.iter().map(|&row| self.0[row as usize][column as usize]));
    }

    // Every value lies on a page of its own, and asking for so many early took longer than waiting for them.
    #[inline]
    fn prefetch(&self, _column: u32, _rows: &[u32]) {}

    fn differences(&self, first: u32, second: u32, limit: usize) -> Option<Vec<u32>> {
        let [first, second] = [first, second].map(|row| self.0[row as usize]);
        collect_up_to(limit, first.len().div_ceil(BLOCK), |block| {
            let start = block * BLOCK;
            let end = (start + BLOCK).min(first.len());
            let pieces = first[start..end].chunks(LANES).zip(second[start..end].chunks(LANES));
            let mut found = Vec::new();
            for (offset, (a, b)) in (start..).step_by(LANES).zip(pieces) {
                if differ(a, b) {
                    found.extend((0..a.len()).filter(|&i| a[i] != b[i]).map(|i| (offset + i) as u32));
                }
            }
            found
        })
    }

    fn varying(&self, rows: &[u32]) -> Vec<u32> {
        let Some((&first, others)) = rows.split_first() else { return Vec::new() };
        let first = self.0[first as usize];
        let blocks: Vec<Vec<u32>> = first
            .par_chunks(BLOCK)
            .enumerate()
            .map(|(block_idx, reference)| {
                let offset = block_idx * BLOCK;
                let mut varies = vec![false; reference.len()];
                for &row in others {
                    let piece = &self.0[row as usize][offset..offset + reference.len()];
                    for ((flag, a), b) in varies.iter_mut().zip(reference).zip(piece) {
                        *flag |= a != b;
                    }
                }
                varies.iter().enumerate().filter(|(_, v)| **v).map(|(i, _)| (offset + i) as u32).collect()
            })
            .collect();
        blocks.concat()
    }
}

impl Samples for Columns<'_> {
    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn n_features(&self) -> usize {
        self.values.len() / self.n_rows
    }

    #[inline]
    fn value(&self, row: u32, column: u32) -> f32 {
        self.column(column)[row as usize]
    }

    #[inline]
    fn gather(&self, column: u32, rows: &[u32], values: &mut Vec<f32>) {
        let column = self.column(column);
        values.clear();
        values.extend(rows.iter().map(|&row| column[row as usize]));
    }

    #[inline]
    fn prefetch(&self, column: u32, rows: &[u32]) {
        let column = self.column(column);
        let mut last = usize::MAX;
        for &row in rows {
            let line = row as usize / LINE;
            if line != last {
                prefetch(column, row as usize);
                last = line;
            }
        }
    }

    #[inline]
    fn touch(&self, column: u32, rows: &[u32]) {
        let column = self.column(column);
        rows.first().into_iter().chain(rows.last()).for_each(|&row| prefetch(column, row as usize));
    }

    fn differences(&self, first: u32, second: u32, limit: usize) -> Option<Vec<u32>> {
        self.differences_of(&[[first, second]], limit).pop().flatten()
    }

    // All in one pass over the columns.
    fn differences_of(&self, pairs: &[[u32; 2]], limit: usize) -> Vec<Option<Vec<u32>>> {
        /// Columns asked for before they are read.
        const N_AHEAD: usize = 16;
        /// Blocks looked at before pairs with too many differences are left out.
        const MOST: usize = 64;
        let n_features = self.n_features();
        let mut found = vec![Some(Vec::new()); pairs.len()];
        let (mut start, mut n) = (0, 1);
        while start < n_features && found.iter().any(Option::is_some) {
            let end = (start + n * BLOCK).min(n_features);
            let open: Vec<(usize, [u32; 2])> =
                pairs.iter().copied().enumerate().filter(|(i, _)| found[*i].is_some()).collect();
            let mut rows: Vec<u32> = open.iter().flat_map(|(_, pair)| *pair).collect();
            rows.sort_unstable();
            // The ends of neighbours are in all lines in which they are.
            let neighbours = rows.chunk_by(|a, b| b / LINE as u32 == a / LINE as u32);
            let mut asked: Vec<u32> = neighbours.flat_map(|rows| [rows[0], rows[rows.len() - 1]]).collect();
            asked.dedup();
            let columns: Vec<usize> = (start..end).step_by(BLOCK).collect();
            let blocks: Vec<Vec<(usize, u32)>> = columns
                .into_par_iter()
                .map(|first| {
                    let mut differing = Vec::new();
                    for column in first..(first + BLOCK).min(end) {
                        for &row in &asked {
                            prefetch(self.values, (column + N_AHEAD) * self.n_rows + row as usize);
                        }
                        let values = self.column(column as u32);
                        for &(i, [a, b]) in &open {
                            if values[a as usize] != values[b as usize] {
                                differing.push((i, column as u32));
                            }
                        }
                    }
                    differing
                })
                .collect();
            for (i, column) in blocks.into_iter().flatten() {
                found[i].as_mut().expect("only those that are open are compared").push(column);
            }
            for columns in &mut found {
                columns.take_if(|columns| columns.len() > limit);
            }
            (start, n) = (end, (2 * n).min(MOST));
        }
        found
    }

    fn varying(&self, rows: &[u32]) -> Vec<u32> {
        let Some((&first, others)) = rows.split_first() else { return Vec::new() };
        let varies =
            |column: &[f32]| others.iter().any(|&row| column[row as usize] != column[first as usize]);
        let columns = self.values.par_chunks_exact(self.n_rows).enumerate();
        columns.filter(|(_, column)| varies(column)).map(|(i, _)| i as u32).collect()
    }
}

/// Joins what is found in each of `n_blocks`, in their order; `None` if that is more than `limit`. Blocks are looked at in parallel, more
/// of them at a time as long as little is found.
pub(super) fn collect_up_to(
    limit: usize,
    n_blocks: usize,
    find: impl Fn(usize) -> Vec<u32> + Sync,
) -> Option<Vec<u32>> {
    const MOST: usize = 64;
    let mut found = Vec::new();
    let (mut start, mut n) = (0, 1);
    while start < n_blocks && found.len() <= limit {
        let end = (start + n).min(n_blocks);
        let parts: Vec<Vec<u32>> = (start..end).into_par_iter().map(&find).collect();
        found.extend(parts.into_iter().flatten());
        (start, n) = (end, (2 * n).min(MOST));
    }
    (found.len() <= limit).then_some(found)
}

/// Whether two pieces differ anywhere; without an early exit, so that it is vectorised.
#[inline]
fn differ(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).fold(false, |differs, (x, y)| differs | (x != y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_find_the_same_differences() {
        let mut a = vec![0.5f32; 200];
        let b = a.clone();
        let mut c = a.clone();
        a[3] = 1.0;
        c[64] = f32::NAN;
        c[199] = -1.0;
        let matrix = [a, b, c];
        let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
        let transposed: Vec<f32> = (0..200).flat_map(|j| matrix.iter().map(move |row| row[j])).collect();
        let columns = Columns { values: &transposed, n_rows: 3 };
        let rows = Rows(&rows);
        assert_eq!(rows.varying(&[0, 1, 2]), [3, 64, 199]);
        assert_eq!(columns.varying(&[0, 1, 2]), [3, 64, 199]);
        assert_eq!(rows.differences(0, 1, 1), Some(vec![3]));
        assert_eq!(columns.differences(0, 1, 1), Some(vec![3]));
        assert_eq!(rows.differences(1, 2, 2), Some(vec![64, 199]));
        assert_eq!(rows.differences(1, 2, 1), None);
        assert_eq!(columns.differences(1, 2, 1), None);
        let pairs = [[1, 2], [0, 1], [0, 0]];
        assert_eq!(columns.differences_of(&pairs, 1), [None, Some(vec![3]), Some(vec![])]);
        assert_eq!(columns.differences_of(&pairs, 2), rows.differences_of(&pairs, 2));
    }
}
