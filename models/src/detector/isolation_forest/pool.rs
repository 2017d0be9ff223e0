//! Samples kept for forests: appended one by one, read by columns, forgotten from either end.
//!
//! A tree wants one column of many rows; an image arrives as one row of a million columns. Rows are kept in tiles, as many to a
//! tile as values fill a cache line. While a tile fills, its rows lie in lines, so that an append writes whole lines; once it is
//! full, squares of so many rows and columns are transposed where they lie, some with every append, and a column of the tile is
//! one line. The tiles of one slab are interleaved line by line, so that a column's lines lie together: the page table costs more
//! than the lines.

use super::memory::{prefetch, zeros_on_huge_pages};
use super::samples::Samples;
use super::stored::Stored;
use super::twins::Twins;
use crate::finite::first_not_finite;
use crate::{Error, Result};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::VecDeque;

/// Appends over which the transposing of a full tile is spread; fewer than the rows of any tile.
const N_SPREAD: usize = 14;
/// Tiles of a slab, unless the pool is told how many rows to expect.
const N_LANES: usize = 2;
/// Squares transposed by one thread at a time.
const N_FLIPPED: usize = 512;
/// Squares ahead for which lines are asked for.
const N_AHEAD: usize = 4;

/// Tiles interleaved: lines `[square, row or column in it, lane]`.
#[derive(Debug, Clone)]
struct Slab<B> {
    values: Vec<B>,
    n_lanes: usize,
}

/// Where a tile lies, and how far it is.
#[derive(Debug, Clone)]
struct Tile {
    slab: usize,
    lane: usize,
    n_rows: usize,
    /// Squares before this one are transposed.
    n_transposed: usize,
}

/// Rows of samples, oldest first, for forests fitted again and again while rows come and go.
///
/// `E` is how values are kept: `f32` as they are, or [`bf16`](half::bf16) in half the memory, each rounded to 8 significant
/// bits (a relative error below 2^-8). Splits are drawn and compared in f32 either way.
///
/// Memory: the values, less than 32 rows more (64 in bf16) at either end, and one more row.
///
/// # Examples
///
/// ```
/// use anomalyd_models::detector::{IsolationForestParams, SamplePool};
///
/// let mut pool = SamplePool::<f32>::new(3)?;
/// for step in 0..40 {
///     pool.push(&[step as f32, (step % 7) as f32, 1.0])?;
/// }
/// let forest = IsolationForestParams::default().fit_pool(&pool, 1)?;
/// assert!(forest.score_row(&[90.0, 3.0, 1.0])? > forest.score_row(&[20.0, 3.0, 1.0])?);
/// pool.truncate(30); // the simulation went back
/// pool.pop_front(); // the oldest is too old
/// assert_eq!(pool.n_rows(), 29);
/// # Ok::<(), anomalyd_models::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SamplePool<E: Stored = f32> {
    n_features: usize,
    /// Tiles of the next slab.
    n_lanes: usize,
    slabs: Vec<Slab<E::Bits>>,
    /// Oldest first.
    tiles: VecDeque<Tile>,
    /// Slab and lane of tiles to be used again.
    free: Vec<(usize, usize)>,
    /// Rows of the first tile that were forgotten.
    n_skipped: usize,
    n_rows: usize,
    /// Tiles, from the first, in which every column is one line.
    n_done: usize,
    /// The first row that there was, and a bit for each column in which another differed from it.
    first: Vec<E::Bits>,
    varied: Vec<u64>,
    twins: Twins,
}

impl<E: Stored> SamplePool<E> {
    /// Values in a cache line of 64 bytes.
    const LINE: usize = 64 / size_of::<E::Bits>();
    /// Values of a square.
    const SQUARE: usize = Self::LINE * Self::LINE;

    /// An empty pool of rows of `n_features`, 1 to 2^32 - 2.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] for another number.
    pub fn new(n_features: usize) -> Result<Self> {
        Self::with_lanes(n_features, N_LANES)
    }

    /// An empty pool that is to hold up to `n_rows` rows of `n_features`: a fit is faster by a third, but memory for all of them is
    /// taken with the first. It may come to hold more.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_capacity(n_features: usize, n_rows: usize) -> Result<Self> {
        Self::with_lanes(n_features, n_rows.div_ceil(Self::LINE).max(1))
    }

    fn with_lanes(n_features: usize, n_lanes: usize) -> Result<Self> {
        if n_features == 0 || n_features >= u32::MAX as usize {
            return Err(Error::Parameter {
                name: "n_features",
                found: n_features.to_string(),
                expected: "1 to 2^32 - 2".into(),
            });
        }
        Ok(Self {
            n_features,
            n_lanes,
            slabs: Vec::new(),
            tiles: VecDeque::new(),
            free: Vec::new(),
            n_skipped: 0,
            n_rows: 0,
            n_done: 0,
            first: Vec::new(),
            varied: vec![0; n_features.div_ceil(64)],
            twins: Twins::new(n_features),
        })
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The number of values in a row.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Bytes held for values.
    pub fn n_bytes(&self) -> usize {
        self.slabs.iter().map(|slab| size_of_val(&*slab.values)).sum::<usize>()
    }

    /// Appends a row as the newest.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for another length than [`n_features`](Self::n_features); [`Error::NotFinite`] for NaN, an infinity or
    /// a number that becomes one when it is kept. The pool is then unchanged.
    pub fn push(&mut self, row: &[f32]) -> Result<()> {
        if row.len() != self.n_features {
            return Err(Error::Shape {
                what: "row of samples",
                wanted: format!("{} values", self.n_features),
                found: row.len().to_string(),
            });
        }
        if let Some(index) = first_not_finite(row) {
            return Err(Error::NotFinite { what: "row of samples", index });
        }
        if size_of::<E::Bits>() < size_of::<f32>()
            && let Some(index) = row.iter().position(|&value| !E::load(E::store(value)).is_finite())
        {
            return Err(Error::NotFinite { what: "row of samples", index });
        }
        if self.first.is_empty() {
            self.first = row.iter().map(|&value| E::store(value)).collect();
        }
        if self.tiles.back().is_none_or(|tile| tile.n_rows == Self::LINE) {
            self.begin_tile();
        }
        self.write(row);
        self.n_rows += 1;
        let sketched: Vec<f32> =
            self.twins.sketched().iter().map(|&column| E::load(E::store(row[column as usize]))).collect();
        // The new row is compared with those before it while they are borrowed.
        let mut twins = std::mem::replace(&mut self.twins, Twins::new(1));
        twins.push(&self.view(), &sketched);
        self.twins = twins;
        let n_squares = self.n_squares();
        if self.tiles.get(self.n_done).is_some_and(|tile| tile.n_rows == Self::LINE) {
            self.transpose(self.n_done, n_squares.div_ceil(N_SPREAD));
            self.n_done += usize::from(self.tiles[self.n_done].n_transposed == n_squares);
        }
        Ok(())
    }

    fn n_squares(&self) -> usize {
        self.n_features.div_ceil(Self::LINE)
    }

    fn begin_tile(&mut self) {
        if self.free.is_empty() {
            let slab = self.slabs.len();
            let n_lanes = self.n_lanes;
            let values = zeros_on_huge_pages(self.n_squares() * Self::SQUARE * n_lanes);
            self.slabs.push(Slab { values, n_lanes });
            self.free.extend((0..n_lanes).rev().map(|lane| (slab, lane)));
            // What was expected has come; what comes after it is taken tile by tile.
            self.n_lanes = n_lanes.min(N_LANES);
        }
        let (slab, lane) = self.free.pop().expect("a slab has lanes");
        self.tiles.push_back(Tile { slab, lane, n_rows: 0, n_transposed: 0 });
    }

    /// Writes a row to the newest tile.
    fn write(&mut self, row: &[f32]) {
        let tile = self.tiles.back_mut().expect("a tile was begun");
        let Slab { values: lines, n_lanes } = &mut self.slabs[tile.slab];
        let step = Self::SQUARE * *n_lanes;
        let offset = (tile.n_rows * *n_lanes + tile.lane) * Self::LINE;
        let pieces = row.chunks(Self::LINE).zip(self.first.chunks(Self::LINE));
        for (piece_idx, (values, first)) in pieces.enumerate() {
            let mut varied = 0u64;
            let start = piece_idx * step + offset;
            prefetch(lines, start + N_AHEAD * 4 * step);
            let line = &mut lines[start..][..values.len()];
            for (i, ((out, &value), &first)) in line.iter_mut().zip(values).zip(first).enumerate() {
                let bits = E::store(value);
                varied |= u64::from(E::load(bits) != E::load(first)) << i;
                *out = bits;
            }
            let column = piece_idx * Self::LINE;
            self.varied[column / 64] |= varied << (column % 64);
        }
        tile.n_rows += 1;
    }

    /// Transposes the next `n` squares of a tile.
    fn transpose(&mut self, tile_idx: usize, n: usize) {
        let first = self.tiles[tile_idx].n_transposed;
        let end = (first + n).min(self.n_squares());
        self.tiles[tile_idx].n_transposed = end;
        self.flip(tile_idx, first..end);
    }

    fn flip(&mut self, tile_idx: usize, squares: std::ops::Range<usize>) {
        let Tile { slab, lane, .. } = self.tiles[tile_idx];
        let Slab { values, n_lanes } = &mut self.slabs[slab];
        let size = Self::SQUARE * *n_lanes;
        let (start, step) = (lane * Self::LINE, *n_lanes * Self::LINE);
        values[squares.start * size..squares.end * size].par_chunks_mut(size * N_FLIPPED).for_each(
            |values| {
                for first in (0..values.len()).step_by(size) {
                    let ahead = first + N_AHEAD * size + start;
                    (0..Self::LINE).for_each(|row| prefetch(values, ahead + row * step));
                    flip_square(&mut values[first..first + size], start, step, Self::LINE);
                }
            },
        );
    }

    /// Forgets the newest rows until `n_rows` are left; a fit is then as if they had never been there.
    pub fn truncate(&mut self, n_rows: usize) {
        while self.n_rows > n_rows {
            self.twins.pop_back();
            self.n_rows -= 1;
            let tile = self.tiles.back_mut().expect("a row lies in a tile");
            tile.n_rows -= 1;
            if tile.n_rows == 0 {
                self.free.push((tile.slab, tile.lane));
                self.tiles.pop_back();
            }
        }
        if self.n_rows == 0 {
            self.free.extend(self.tiles.drain(..).map(|tile| (tile.slab, tile.lane)));
            self.n_skipped = 0;
        }
        if let Some(tile) = self.tiles.back_mut().filter(|tile| tile.n_rows < Self::LINE) {
            // Rows that follow are to be written by lines again.
            let squares = 0..std::mem::take(&mut tile.n_transposed);
            self.flip(self.tiles.len() - 1, squares);
        }
        let n_squares = self.n_squares();
        self.n_done = self.tiles.iter().take_while(|tile| tile.n_transposed == n_squares).count();
    }

    /// Forgets the oldest row, if there is one.
    pub fn pop_front(&mut self) {
        if self.n_rows == 0 {
            return;
        }
        let mut twins = std::mem::replace(&mut self.twins, Twins::new(1));
        twins.pop_front(&self.view());
        self.twins = twins;
        self.n_skipped += 1;
        self.n_rows -= 1;
        if self.n_rows == 0 || self.n_skipped == Self::LINE {
            let tile = self.tiles.pop_front().expect("a row lies in a tile");
            self.free.push((tile.slab, tile.lane));
            self.n_done = self.n_done.saturating_sub(1);
            self.n_skipped = 0;
        }
    }

    /// Copies row `row_idx`, as kept, to `values`.
    ///
    /// # Panics
    ///
    /// If there is no such row, or `values` is longer than a row.
    pub fn copy_row(&self, row_idx: usize, values: &mut [f32]) {
        assert!(row_idx < self.n_rows, "the pool has {} rows, row {row_idx} was asked for", self.n_rows);
        for (column, value) in values.iter_mut().enumerate() {
            *value = self.value(row_idx as u32, column as u32);
        }
    }

    #[inline]
    fn place(&self, row: u32) -> (&Tile, usize) {
        let slot = row as usize + self.n_skipped;
        (&self.tiles[slot / Self::LINE], slot % Self::LINE)
    }

    #[inline]
    fn position(&self, tile: &Tile, row: usize, column: usize) -> usize {
        let (square, within) = (column / Self::LINE, column % Self::LINE);
        let (line, at) = if square < tile.n_transposed { (within, row) } else { (row, within) };
        ((square * Self::LINE + line) * self.slabs[tile.slab].n_lanes + tile.lane) * Self::LINE + at
    }

    #[inline]
    pub(super) fn value(&self, row: u32, column: u32) -> f32 {
        let (tile, row) = self.place(row);
        E::load(self.slabs[tile.slab].values[self.position(tile, row, column as usize)])
    }

    /// The rows as they lie now, to be read by trees.
    pub(super) fn view(&self) -> View<'_, E> {
        View { pool: self, lines: Vec::new(), n_in_lines: 0 }
    }

    /// A view that has found out where rows lie.
    pub(super) fn prepared_view(&self) -> View<'_, E> {
        let n_in_lines = (self.n_done * Self::LINE).saturating_sub(self.n_skipped).min(self.n_rows);
        let lines = (0..n_in_lines as u32)
            .map(|row| {
                let (tile, slot) = self.place(row);
                (tile.slab as u32, (tile.lane * Self::LINE + slot) as u32)
            })
            .collect();
        View { pool: self, lines, n_in_lines: n_in_lines as u32 }
    }
}

/// Transposes the square whose lines begin at `start` and every `step` values after, by blocks of 8 x 8, which fit in registers.
fn flip_square<B: Copy>(values: &mut [B], start: usize, step: usize, line: usize) {
    const SIDE: usize = 8;
    let read = |values: &[B], row: usize, column: usize| -> [[B; SIDE]; SIDE] {
        std::array::from_fn(|i| {
            let first = start + (row + i) * step + column;
            *values[first..].first_chunk::<SIDE>().expect("blocks divide a square")
        })
    };
    let write = |values: &mut [B], row: usize, column: usize, block: [[B; SIDE]; SIDE]| {
        for i in 0..SIDE {
            let turned: [B; SIDE] = std::array::from_fn(|j| block[j][i]);
            values[start + (row + i) * step + column..][..SIDE].copy_from_slice(&turned);
        }
    };
    for row in (0..line).step_by(SIDE) {
        let diagonal = read(values, row, row);
        write(values, row, row, diagonal);
        for column in (row + SIDE..line).step_by(SIDE) {
            let (upper, lower) = (read(values, row, column), read(values, column, row));
            write(values, column, row, upper);
            write(values, row, column, lower);
        }
    }
}

/// A pool's rows as samples.
pub(super) struct View<'a, E: Stored> {
    pool: &'a SamplePool<E>,
    /// Slab of a row, and its place among the lines of column 0 there; for the rows before `n_in_lines`.
    lines: Vec<(u32, u32)>,
    n_in_lines: u32,
}

impl<E: Stored> View<'_, E> {
    /// The values of a column in a slab; those of tiles that are not transposed yet are other columns'.
    #[inline]
    fn column(&self, slab: u32, column: u32) -> &[E::Bits] {
        let slab = &self.pool.slabs[slab as usize];
        let n = slab.n_lanes * SamplePool::<E>::LINE;
        &slab.values[column as usize * n..][..n]
    }

    #[inline]
    fn split<'r>(&self, rows: &'r [u32]) -> (&'r [u32], &'r [u32]) {
        match rows.last() {
            Some(&last) if last >= self.n_in_lines => {
                rows.split_at(rows.partition_point(|&row| row < self.n_in_lines))
            }
            _ => (rows, &[]),
        }
    }
}

impl<E: Stored> Samples for View<'_, E> {
    fn n_rows(&self) -> usize {
        self.pool.n_rows
    }

    fn n_features(&self) -> usize {
        self.pool.n_features
    }

    #[inline]
    fn value(&self, row: u32, column: u32) -> f32 {
        self.pool.value(row, column)
    }

    #[inline]
    fn gather(&self, column: u32, rows: &[u32], values: &mut Vec<f32>) {
        let (in_lines, others) = self.split(rows);
        values.clear();
        if self.pool.slabs.len() == 1 {
            let column = self.column(0, column);
            values.extend(in_lines.iter().map(|&row| E::load(column[self.lines[row as usize].1 as usize])));
        } else {
            values.extend(in_lines.iter().map(|&row| {
                let (slab, place) = self.lines[row as usize];
                E::load(self.column(slab, column)[place as usize])
            }));
        }
        values.extend(others.iter().map(|&row| self.value(row, column)));
    }

    #[inline]
    fn prefetch(&self, column: u32, rows: &[u32]) {
        let (in_lines, others) = self.split(rows);
        let mut last = (u32::MAX, u32::MAX);
        for &row in in_lines {
            let (slab, place) = self.lines[row as usize];
            let line = (slab, place / SamplePool::<E>::LINE as u32);
            if line != last {
                prefetch(self.column(slab, column), place as usize);
                last = line;
            }
        }
        for &row in others {
            let (tile, row) = self.pool.place(row);
            prefetch(&self.pool.slabs[tile.slab].values, self.pool.position(tile, row, column as usize));
        }
    }

    #[inline]
    fn is_known_constant(&self, column: u32) -> bool {
        (self.pool.varied[column as usize / 64] >> (column % 64)) & 1 == 0
    }

    fn differences(&self, first: u32, second: u32, limit: usize) -> Option<Vec<u32>> {
        let line = SamplePool::<E>::LINE;
        let ((a, a_row), (b, b_row)) = (self.pool.place(first), self.pool.place(second));
        let (a_slab, b_slab) = (&self.pool.slabs[a.slab], &self.pool.slabs[b.slab]);
        let squares = |slab: &'_ Slab<E::Bits>| SamplePool::<E>::SQUARE * slab.n_lanes;
        let squares =
            a_slab.values.chunks_exact(squares(a_slab)).zip(b_slab.values.chunks_exact(squares(b_slab)));
        let mut found = Vec::new();
        for (square, (a_values, b_values)) in squares.enumerate() {
            let step = |tile: &Tile, row: usize| {
                let (start, n_lanes) = (tile.lane * line, self.pool.slabs[tile.slab].n_lanes);
                if square < tile.n_transposed {
                    (start + row, line * n_lanes)
                } else {
                    (start + row * n_lanes * line, 1)
                }
            };
            let ((a_start, a_step), (b_start, b_step)) = (step(a, a_row), step(b, b_row));
            let n_columns = line.min(self.pool.n_features - square * line);
            found.extend(
                (0..n_columns)
                    .filter(|i| {
                        E::load(a_values[a_start + i * a_step]) != E::load(b_values[b_start + i * b_step])
                    })
                    .map(|i| (square * line + i) as u32),
            );
            if found.len() > limit {
                return None;
            }
        }
        Some(found)
    }

    fn varying(&self, rows: &[u32]) -> Vec<u32> {
        const BLOCK: u32 = 1024;
        let n_features = self.pool.n_features as u32;
        let blocks: Vec<Vec<u32>> = (0..n_features.div_ceil(BLOCK))
            .into_par_iter()
            .map_init(Vec::new, |values, block| {
                let columns = block * BLOCK..((block + 1) * BLOCK).min(n_features);
                columns
                    .filter(|&column| !self.is_known_constant(column))
                    .filter(|&column| {
                        self.gather(column, rows, values);
                        values.iter().any(|value| *value != values[0])
                    })
                    .collect()
            })
            .collect();
        blocks.concat()
    }

    fn twins(&self) -> Result<Cow<'_, Twins>> {
        Ok(Cow::Borrowed(&self.pool.twins))
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
