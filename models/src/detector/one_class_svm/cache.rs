//! Rows of the kernel matrix, those used last kept.

use super::kernel::{Kernel, scalar_product};
use rayon::prelude::*;

/// Multiplications that are worth waking other threads for.
const MIN_PARALLEL: usize = 1 << 17;

/// The samples of a fit in an order that changes, and their kernel.
pub(super) struct Samples<'a> {
    rows: Vec<&'a [f32]>,
    /// Scalar product of each row with itself.
    squares: Vec<f64>,
    kernel: Kernel,
}

impl<'a> Samples<'a> {
    pub(super) fn new(rows: &[&'a [f32]], kernel: Kernel) -> Self {
        let squares = rows.par_iter().map(|row| scalar_product(row, row)).collect();
        Self { rows: rows.to_vec(), squares, kernel }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The kernel of a sample with itself.
    pub(super) fn own(&self, position: usize) -> f64 {
        let square = self.squares[position];
        self.kernel.of_products(square, square, square)
    }

    fn between(&self, first: usize, second: usize) -> f64 {
        let product = scalar_product(self.rows[first], self.rows[second]);
        self.kernel.of_products(product, self.squares[first], self.squares[second])
    }

    /// Appends to `values` the kernel of the sample at `position` with those at `values.len()..end`.
    fn extend(&self, position: usize, values: &mut Vec<f64>, end: usize) {
        let columns = values.len()..end;
        if columns.len() * self.rows[position].len() < MIN_PARALLEL {
            values.extend(columns.map(|column| self.between(position, column)));
        } else {
            values.par_extend(columns.into_par_iter().map(|column| self.between(position, column)));
        }
    }

    fn swap(&mut self, first: usize, second: usize) {
        self.rows.swap(first, second);
        self.squares.swap(first, second);
    }
}

/// Rows of the kernel matrix of samples that change places. A row may be known for the first samples only.
pub(super) struct Cache<'a> {
    pub(super) samples: Samples<'a>,
    rows: Vec<Vec<f64>>,
    /// When each row was last asked for.
    asked: Vec<u64>,
    clock: u64,
    n_values: usize,
    max_values: usize,
}

impl<'a> Cache<'a> {
    /// Room for `max_bytes`, or for two rows if that is more.
    pub(super) fn new(samples: Samples<'a>, max_bytes: usize) -> Self {
        let n = samples.len();
        let max_values = (max_bytes / size_of::<f64>()).max(2 * n);
        Self { samples, rows: vec![Vec::new(); n], asked: vec![0; n], clock: 0, n_values: 0, max_values }
    }

    /// Makes the first `n_columns` values of two rows known, and returns them.
    pub(super) fn pair(&mut self, first: usize, second: usize, n_columns: usize) -> (&[f64], &[f64]) {
        self.need(first, n_columns, second);
        self.need(second, n_columns, first);
        (&self.rows[first], &self.rows[second])
    }

    /// The first `n_columns` values of a row.
    pub(super) fn row(&mut self, position: usize, n_columns: usize) -> &[f64] {
        self.need(position, n_columns, position);
        &self.rows[position][..n_columns]
    }

    fn need(&mut self, position: usize, n_columns: usize, spared: usize) {
        self.clock += 1;
        self.asked[position] = self.clock;
        let n_known = self.rows[position].len();
        if n_known >= n_columns {
            return;
        }
        while self.n_values + n_columns - n_known > self.max_values {
            let known = (0..self.rows.len())
                .filter(|&row| row != position && row != spared && !self.rows[row].is_empty());
            let Some(oldest) = known.min_by_key(|&row| self.asked[row]) else { break };
            self.forget(oldest);
        }
        self.rows[position].reserve_exact(n_columns - n_known);
        self.samples.extend(position, &mut self.rows[position], n_columns);
        self.n_values += n_columns - n_known;
    }

    fn forget(&mut self, row: usize) {
        self.n_values -= self.rows[row].len();
        self.rows[row] = Vec::new();
    }

    /// Two samples change places.
    pub(super) fn swap(&mut self, first: usize, second: usize) {
        let (first, second) = (first.min(second), first.max(second));
        self.samples.swap(first, second);
        self.rows.swap(first, second);
        self.asked.swap(first, second);
        for row in 0..self.rows.len() {
            if second < self.rows[row].len() {
                self.rows[row].swap(first, second);
            } else if first < self.rows[row].len() {
                // What would come to its place is not known.
                self.forget(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn rows_are_right_after_any_swaps_and_with_room_for_two_only() {
        let mut rng = Rng::new(3);
        let matrix: Vec<Vec<f32>> = (0..12).map(|_| (0..5).map(|_| rng.normal() as f32).collect()).collect();
        let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
        for max_bytes in [0, 300, 1 << 20] {
            let mut cache = Cache::new(Samples::new(&rows, Kernel::Rbf { gamma: 0.2 }), max_bytes);
            let mut order: Vec<usize> = (0..12).collect();
            let fresh = Samples::new(&rows, Kernel::Rbf { gamma: 0.2 });
            for _ in 0..400 {
                let (first, second) = (rng.below(12), rng.below(12));
                cache.swap(first, second);
                order.swap(first, second);
                let n_columns = 1 + rng.below(12);
                let (i, j) = (rng.below(12), rng.below(12));
                let (row_i, row_j) = cache.pair(i, j, n_columns);
                for column in 0..n_columns {
                    assert_eq!(row_i[column], fresh.between(order[i], order[column]));
                    assert_eq!(row_j[column], fresh.between(order[j], order[column]));
                }
                assert!(cache.n_values <= cache.max_values);
                assert_eq!(cache.n_values, cache.rows.iter().map(Vec::len).sum::<usize>());
            }
        }
    }
}
