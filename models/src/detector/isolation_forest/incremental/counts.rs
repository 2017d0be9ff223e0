//! How many values and nodes a change reads, and how that grows with the rows.

use super::super::grow::N_TOGETHER;
use super::super::samples::{Rows, Samples};
use super::super::twins::Twins;
use super::depth_for;
use super::tree::Gardener;
use crate::rng::Rng;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

thread_local! {
    pub(super) static N_NODES: Cell<usize> = const { Cell::new(0) };
}

/// Rows whose values are counted when they are read.
struct Counted<'a> {
    rows: Rows<'a>,
    constant: Vec<bool>,
    n_values: AtomicUsize,
}

impl Samples for Counted<'_> {
    fn n_rows(&self) -> usize {
        self.rows.n_rows()
    }

    fn n_features(&self) -> usize {
        self.rows.n_features()
    }

    fn value(&self, row: u32, column: u32) -> f32 {
        self.n_values.fetch_add(1, Relaxed);
        self.rows.value(row, column)
    }

    fn gather(&self, column: u32, rows: &[u32], values: &mut Vec<f32>) {
        self.n_values.fetch_add(rows.len(), Relaxed);
        self.rows.gather(column, rows, values);
    }

    fn prefetch(&self, _column: u32, _rows: &[u32]) {}

    fn differences(&self, first: u32, second: u32, limit: usize) -> Option<Vec<u32>> {
        self.rows.differences(first, second, limit)
    }

    fn varying(&self, rows: &[u32]) -> Vec<u32> {
        self.n_values.fetch_add(rows.len() * self.n_features(), Relaxed);
        self.rows.varying(rows)
    }

    fn is_known_constant(&self, column: u32) -> bool {
        self.constant[column as usize]
    }
}

/// A value at random, in a row and a column.
type Law = fn(&mut Rng, usize, usize) -> f32;

const N_COLUMNS: usize = 500;
const N_NEW: usize = 60;

/// Values and nodes read in one tree by an insertion, and by a removal, in the mean over [`N_NEW`] rows.
fn reads(law: Law, n_rows: usize, n_trees: usize) -> [f64; 2] {
    let mut rng = Rng::new(1);
    let mut value = |row| (0..N_COLUMNS).map(|column| law(&mut rng, row, column)).collect::<Vec<f32>>();
    let matrix: Vec<Vec<f32>> = (0..n_rows + N_NEW).map(&mut value).collect();
    let rows: Vec<&[f32]> = matrix.iter().map(Vec::as_slice).collect();
    let constant = (0..N_COLUMNS).map(|i| rows.iter().all(|row| row[i] == rows[0][i])).collect();
    let samples = Counted { rows: Rows(&rows), constant, n_values: AtomicUsize::new(0) };
    let twins = Twins::new(1);
    let mut gardener = Gardener::new(&samples, &twins, 0, depth_for(None, n_rows + N_NEW));
    let mut trees = gardener.plant(n_rows, (0..n_trees as u64).map(|tree| Rng::derived(1, tree)));
    let mut count = |rows: std::ops::Range<usize>, is_insertion: bool| {
        samples.n_values.store(0, Relaxed);
        N_NODES.set(0);
        for row in rows {
            for (group, trees) in trees.chunks_mut(N_TOGETHER).enumerate() {
                let seed = (2 * row + usize::from(is_insertion)) as u64;
                let rng = |i| Rng::derived(seed, (group * N_TOGETHER + i) as u64);
                let mut rngs: Vec<Rng> = (0..trees.len()).map(rng).collect();
                if is_insertion {
                    gardener.insert_each(trees, row as u32, &mut rngs);
                } else {
                    gardener.remove_each(trees, row as u32, &mut rngs);
                }
            }
        }
        (samples.n_values.load(Relaxed) + N_NODES.get()) as f64 / (N_NEW * n_trees) as f64
    };
    [count(n_rows..n_rows + N_NEW, true), count(0..N_NEW, false)]
}

/// That the reads of a change grow at most `factor` times as the logarithm of the rows does, from 128 rows to 8,192.
fn assert_logarithmic(law: Law, factor: f64) {
    let few = reads(law, 128, 64);
    let many = reads(law, 8192, 64);
    for (few, many) in few.into_iter().zip(many) {
        let [few, many] = [few / 7.0, many / 13.0];
        assert!(many < factor * few, "{few:.1} and {many:.1} reads for each bit of the number of rows");
    }
}

#[test]
fn reads_of_a_change_grow_as_the_logarithm_of_the_rows() {
    assert_logarithmic(|rng, _, _| rng.uniform() as f32, 1.1);
    assert_logarithmic(|rng, _, _| rng.normal() as f32, 1.1);
}

#[test]
fn reads_of_a_change_grow_as_the_logarithm_of_the_rows_after_a_relu() {
    // Some columns are always zero, others in half the rows.
    let law = |rng: &mut Rng, _, column| if column % 4 == 0 { 0.0 } else { (rng.normal() as f32).max(0.0) };
    assert_logarithmic(law, 1.1);
}

#[test]
fn columns_in_which_few_rows_differ_from_the_others_need_not_be_read_through() {
    // One row in 2 to 2,048 has a value.
    let law = |rng: &mut Rng, _, column: usize| {
        let is_there = rng.uniform() < 0.5f64.powi(1 + column as i32 % 11);
        if is_there { rng.uniform() as f32 } else { 0.0 }
    };
    // The more rows, the more of the columns vary. To read these through takes more than ten times as much for each bit.
    assert_logarithmic(law, 2.5);
}

#[test]
fn reads_of_a_change_hardly_outgrow_the_logarithm_where_rows_lie_beyond_all_others() {
    // The greatest of n is as great as all others together, and each row is beyond all before it in every second column.
    assert_logarithmic(|rng, _, _| (1.0 / (1.0 - rng.uniform())) as f32, 1.5);
    let drift: Law = |rng, row, column| if column % 2 == 0 { row as f32 } else { rng.normal() as f32 };
    assert_logarithmic(drift, 2.0);
}
