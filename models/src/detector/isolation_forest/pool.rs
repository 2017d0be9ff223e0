//! Samples kept for forests: appended one by one, read by columns, forgotten from either end.
//!
//! A tree wants one column of many rows; an image arrives as one row of a million columns. Rows are kept in tiles of as many as values
//! fill a cache line, a column of a tile being one line; the newest rows, fewer than a line, lie apart until they are turned
//! (`fresh.rs`). The tiles of one slab are interleaved line by line, so that a column's lines lie together: the page table
//! costs more than the lines.
//!
//! With `n` rows that there have been, forgotten ones included, row `n` is in line `(n + phase) / LINE` of a column, at
//! `(n + phase) % LINE`, where the phase follows from the column: lines are full at another row for every sixteenth stretch of columns.

use super::digest::{DIGESTED, digest};
use super::fresh::{Fresh, PART, PIECE, Turns};
use super::memory::{LINE_BYTES, Plain, Zeros};
use super::stored::Stored;
use super::twins::Twins;
use crate::{Error, Result};
use rayon::prelude::*;
use std::collections::VecDeque;

#[path = "view.rs"]
mod view;
pub(super) use view::View;

/// Tiles of a slab, unless the pool is told how many rows to expect.
const N_LANES: usize = 2;

/// Tiles interleaved: lines `[column, lane]`.
#[derive(Debug, Clone)]
struct Slab<B: Plain> {
    values: Zeros<B>,
    n_lanes: usize,
}

/// Where a tile lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tile {
    slab: usize,
    lane: usize,
}

/// Rows of samples, oldest first, for forests fitted again and again while rows come and go.
///
/// `E` is how values are kept: `f32` as they are, or [`bf16`](half::bf16) in half the memory, each rounded to 8 significant
/// bits (a relative error below 2^-8). Splits are drawn and compared in f32 either way.
///
/// Memory of a pool [with capacity](Self::with_capacity), whichever rows were forgotten: the values of that many rows and up to 26 more
/// (52 in bf16; 14 for 732), less if fewer have come. Without: up to 50 rows (100) more than there are or have been.
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
    /// The newest tile takes the lane of the first, whose rows go as its rows come, if there are so many.
    n_shared: usize,
    slabs: Vec<Slab<E::Bits>>,
    /// Oldest first.
    tiles: VecDeque<Tile>,
    /// Tiles before them, all of whose rows were forgotten.
    n_tiles_gone: usize,
    free: Vec<Tile>,
    /// By [`PART`] of the columns.
    fresh: Vec<Fresh<E::Bits>>,
    turns: Turns,
    n_gone: usize,
    n_rows: usize,
    /// The oldest of them, which are no samples.
    n_ignored: usize,
    /// The first row that there was, and a bit for each column in which another differed from it.
    first: Vec<E::Bits>,
    varied: Vec<u64>,
    /// Of each row, by [`DIGESTED`] columns.
    digests: VecDeque<Vec<u64>>,
    twins: Twins,
}

impl<E: Stored> SamplePool<E> {
    /// Values in a cache line.
    const LINE: usize = LINE_BYTES / size_of::<E::Bits>();

    /// An empty pool of rows of `n_features`, 1 to 2^32 - 2.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] for another number.
    pub fn new(n_features: usize) -> Result<Self> {
        Self::with_lanes(n_features, N_LANES, usize::MAX)
    }

    /// An empty pool that is to hold up to `n_rows` rows of `n_features`: a fit is faster by a third, but memory for all of them is
    /// taken with the first. It may come to hold more.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_capacity(n_features: usize, n_rows: usize) -> Result<Self> {
        // One more, for who appends the next row before the oldest is forgotten.
        let n_lanes = n_rows / Self::LINE + 1;
        Self::with_lanes(n_features, n_lanes, n_lanes)
    }

    fn with_lanes(n_features: usize, n_lanes: usize, n_shared: usize) -> Result<Self> {
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
            n_shared,
            slabs: Vec::new(),
            tiles: VecDeque::new(),
            n_tiles_gone: 0,
            free: Vec::new(),
            fresh: Vec::new(),
            turns: Turns::new(n_features, Self::LINE),
            n_gone: 0,
            n_rows: 0,
            n_ignored: 0,
            first: Vec::new(),
            varied: vec![0; n_features.div_ceil(64)],
            digests: VecDeque::new(),
            twins: Twins::new(n_features),
        })
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Leaves the oldest `n_rows` out of fits, and lets all others in: rows too old to judge by that a rewind may want again. Takes the time of
    /// a few gathers if the number changes, longer if rows are equal or nearly so.
    pub fn ignore(&mut self, n_rows: usize) {
        let n_ignored = n_rows.min(self.n_rows);
        if n_ignored != self.n_ignored {
            self.n_ignored = n_ignored;
            self.twins = Twins::find(&self.view(), 2).expect("rows are finite");
        }
    }

    /// The number of values in a row.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Bytes held, but for what is known of twins.
    pub fn n_bytes(&self) -> usize {
        self.slabs.iter().map(|slab| size_of_val(&*slab.values)).sum::<usize>()
            + self.fresh.iter().map(Fresh::n_bytes).sum::<usize>()
            + size_of_val(&*self.first)
            + size_of_val(&*self.varied)
            + self.digests.iter().map(|digests| size_of_val(&**digests)).sum::<usize>()
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
        let pieces = row.par_chunks(DIGESTED).enumerate();
        let digests: Option<Vec<u64>> =
            pieces.map(|(i, piece)| digest::<E>(piece, &row[i * DIGESTED + piece.len()..])).collect();
        let Some(digests) = digests else {
            let index =
                row.iter().position(|&value| !E::load(E::store(value)).is_finite()).unwrap_or_default();
            return Err(Error::NotFinite { what: "row of samples", index });
        };
        if self.first.is_empty() {
            self.first = row.iter().map(|&value| E::store(value)).collect();
            self.fresh = row.chunks(PART).map(|part| Fresh::new(part.len(), self.turns)).collect();
        }
        self.make_room();
        self.write(row);
        self.n_rows += 1;
        self.digests.push_back(digests);
        let sketched: Vec<f32> =
            self.twins.sketched().iter().map(|&column| E::load(E::store(row[column as usize]))).collect();
        // The new row is compared with those before it while they are borrowed.
        let mut twins = std::mem::replace(&mut self.twins, Twins::new(1));
        twins.push(&self.view(), &sketched);
        self.twins = twins;
        Ok(())
    }

    /// Gets the memory that the next row's lines go to, which the system has to clear, or a virtual machine to ask its host for. An append does
    /// it too, when the row has come; what can be read is the same.
    pub fn reserve(&mut self) {
        /// Of the system: the least there is.
        const PAGE: usize = 4096;
        if self.first.is_empty() {
            return;
        }
        self.make_room();
        let (n, line, turns) = (self.n_ever(), Self::LINE, self.turns);
        let Tile { slab, lane } = self.tiles[n / line - self.n_tiles_gone];
        let Slab { values, n_lanes } = &mut self.slabs[slab];
        let step = *n_lanes * line;
        let columns_of_page = (PAGE / (step * size_of::<E::Bits>())).max(1);
        values.par_chunks_mut(PART * step).for_each(|lines| {
            for (piece, lines) in lines.chunks_mut(PIECE * step).enumerate() {
                if (n + turns.of_piece(piece)) % line + 1 == line {
                    // Until the row has come nothing of these lines is read.
                    let firsts = lines.iter_mut().skip(lane * line).step_by(columns_of_page * step);
                    firsts.for_each(|value| *value = E::Bits::default());
                }
            }
        });
    }

    /// Rows that there have been since the pool was empty; the number of the next one.
    pub(super) fn n_ever(&self) -> usize {
        self.n_gone + self.n_rows
    }

    /// The number, counted likewise, of the first that is not ignored.
    pub(super) fn first_sample(&self) -> usize {
        self.n_gone + self.n_ignored
    }

    /// Makes sure that the lines which the next row completes have a place.
    fn make_room(&mut self) {
        let row = self.n_ever();
        let (tile, phase) = (row / Self::LINE - self.n_tiles_gone, Self::LINE - 1 - row % Self::LINE);
        let is_first_free = self.n_gone + phase >= (self.n_tiles_gone + 1) * Self::LINE;
        if tile == self.tiles.len() {
            let shared = (tile >= self.n_shared && is_first_free && self.free.is_empty())
                .then(|| self.tiles.front().copied())
                .flatten();
            let place = shared.unwrap_or_else(|| self.take_lane());
            self.tiles.push_back(place);
        } else if tile > 0 && self.tiles[tile] == self.tiles[0] && !is_first_free {
            // The rows of the first do not go after all.
            let place = self.take_lane();
            let from = std::mem::replace(&mut self.tiles[tile], place);
            let mut line = vec![E::Bits::default(); Self::LINE];
            let columns = 0..self.n_features;
            for column in columns.filter(|&column| self.turns.phase(column) > phase) {
                line.copy_from_slice(self.line(from, column));
                let slab = &mut self.slabs[place.slab];
                let start = (column * slab.n_lanes + place.lane) * Self::LINE;
                slab.values[start..][..Self::LINE].copy_from_slice(&line);
            }
        }
    }

    fn take_lane(&mut self) -> Tile {
        if self.free.is_empty() {
            let slab = self.slabs.len();
            let n_lanes = self.n_lanes;
            self.slabs.push(Slab { values: Zeros::new(self.n_features * n_lanes * Self::LINE), n_lanes });
            self.free.extend((0..n_lanes).rev().map(|lane| Tile { slab, lane }));
            // What was expected has come; what comes after it is taken in small slabs.
            self.n_lanes = n_lanes.min(N_LANES);
        }
        self.free.pop().expect("a slab has lanes")
    }

    /// Writes a row after the newest.
    fn write(&mut self, row: &[f32]) {
        let (n, line, turns) = (self.n_ever(), Self::LINE, self.turns);
        let Tile { slab, lane } = self.tiles[n / line - self.n_tiles_gone];
        let Slab { values, n_lanes } = &mut self.slabs[slab];
        let step = *n_lanes * line;
        let parts = self.fresh.par_iter_mut().zip(row.par_chunks(PART)).zip(self.first.par_chunks(PART));
        let parts = parts.zip(self.varied.par_chunks_mut(PART / 64)).zip(values.par_chunks_mut(PART * step));
        parts.for_each(|((((fresh, row), first), varied), lines)| {
            for (piece, (values, first)) in row.chunks(PIECE).zip(first.chunks(PIECE)).enumerate() {
                let varied = &mut varied[piece * (PIECE / 64)..];
                for (bits, (values, first)) in varied.iter_mut().zip(values.chunks(64).zip(first.chunks(64)))
                {
                    // Mostly known after a few rows.
                    if *bits != u64::MAX {
                        *bits |= differing::<E>(values, first);
                    }
                }
                let slot = (n + turns.of_piece(piece)) % line;
                if slot + 1 < line {
                    fresh.take(piece, slot, values.iter().map(|&value| E::store(value)));
                    // One of the rows of the piece that is turned next.
                    let n_before = line - 1 - slot;
                    fresh.ask_for(turns.later(piece, n_before), n_before - 1);
                } else {
                    let mut last = [E::Bits::default(); PIECE];
                    last.iter_mut().zip(values).for_each(|(out, &value)| *out = E::store(value));
                    let lines = &mut lines[piece * PIECE * step + lane * line..];
                    fresh.turn(piece, &last[..values.len()], lines, step);
                }
            }
        });
    }

    /// Forgets the newest rows until `n_rows` are left; a fit is then as if they had never been there.
    pub fn truncate(&mut self, n_rows: usize) {
        if n_rows >= self.n_rows {
            return;
        }
        (n_rows.max(self.n_ignored)..self.n_rows).for_each(|_| self.twins.pop_back());
        self.n_ignored = self.n_ignored.min(n_rows);
        let (line, before) = (Self::LINE, self.n_ever());
        self.n_rows = n_rows;
        self.digests.truncate(n_rows);
        if n_rows == 0 {
            self.begin_again();
            return;
        }
        let n = self.n_ever();
        let (slabs, tiles) = (&self.slabs, &self.tiles);
        self.fresh.par_iter_mut().enumerate().for_each(|(part, fresh)| {
            let n_columns = PART.min(self.n_features - part * PART);
            let pieces = 0..n_columns.div_ceil(PIECE);
            let phase = |piece| self.turns.of_piece(piece);
            let is_turned = |&piece: &usize| (n + phase(piece)) / line < (before + phase(piece)) / line;
            for piece in pieces.clone() {
                fresh.drop_from(piece, if is_turned(&piece) { 0 } else { (n + phase(piece)) % line });
            }
            // Rows of lines that are to be completed by others.
            for piece in pieces.filter(is_turned) {
                let Tile { slab, lane } = tiles[(n + phase(piece)) / line - self.n_tiles_gone];
                let Slab { values, n_lanes } = &slabs[slab];
                let lines = &values[((part * PART + piece * PIECE) * n_lanes + lane) * line..];
                let width = PIECE.min(n_columns - piece * PIECE);
                fresh.turn_back(piece, width, (n + phase(piece)) % line, lines, n_lanes * line);
            }
        });
        while self.n_tiles_gone + self.tiles.len() > n.div_ceil(line) {
            let tile = self.tiles.pop_back();
            self.free.extend(tile.filter(|tile| self.tiles.front() != Some(tile)));
        }
    }

    /// Forgets the oldest row, if there is one.
    pub fn pop_front(&mut self) {
        if self.n_rows == 0 {
            return;
        }
        if self.n_ignored == 0 {
            let mut twins = std::mem::replace(&mut self.twins, Twins::new(1));
            twins.pop_front(&self.view());
            self.twins = twins;
        }
        self.n_ignored = self.n_ignored.saturating_sub(1);
        self.n_gone += 1;
        self.n_rows -= 1;
        self.digests.pop_front();
        if self.n_rows == 0 {
            self.begin_again();
        } else if self.n_gone == (self.n_tiles_gone + 1) * Self::LINE {
            let tile = self.tiles.pop_front();
            self.free.extend(tile.filter(|tile| self.tiles.back() != Some(tile)));
            self.n_tiles_gone += 1;
        }
    }

    /// With no row left.
    fn begin_again(&mut self) {
        let shared = self.tiles.len() > 1 && self.tiles.front() == self.tiles.back();
        self.free.extend(self.tiles.drain(usize::from(shared)..));
        self.tiles.clear();
        self.fresh.iter_mut().for_each(Fresh::clear);
        (self.n_gone, self.n_tiles_gone) = (0, 0);
    }

    /// Copies row `row_idx`, as kept, to `values`.
    ///
    /// # Panics
    ///
    /// If there is no such row, or `values` is longer than a row.
    pub fn copy_row(&self, row_idx: usize, values: &mut [f32]) {
        assert!(row_idx < self.n_rows, "the pool has {} rows, row {row_idx} was asked for", self.n_rows);
        assert!(values.len() <= self.n_features, "a row has {} values", self.n_features);
        let row = self.n_gone + row_idx;
        values.par_chunks_mut(PIECE).enumerate().for_each(|(piece, values)| {
            let bits = self.piece(row, piece * PIECE);
            values.iter_mut().enumerate().for_each(|(i, value)| *value = E::load(bits.get(i)));
        });
    }

    #[inline(always)]
    fn line(&self, tile: Tile, column: usize) -> &[E::Bits] {
        let slab = &self.slabs[tile.slab];
        &slab.values[(column * slab.n_lanes + tile.lane) * Self::LINE..][..Self::LINE]
    }

    /// The line of a row, counted with those forgotten, in a column of this phase, counted from the first line that is held, and the
    /// place in it; `None` for a line that is not complete.
    #[inline(always)]
    fn place(&self, row: usize, phase: usize) -> (Option<usize>, usize) {
        let place = row + phase;
        let (tile, slot) = (place / Self::LINE, place % Self::LINE);
        ((tile < (self.n_ever() + phase) / Self::LINE).then(|| tile - self.n_tiles_gone), slot)
    }

    #[inline]
    fn value(&self, row: usize, column: usize) -> f32 {
        let (tile, slot) = self.place(row, self.turns.phase(column));
        E::load(match tile {
            Some(tile) => self.line(self.tiles[tile], column)[slot],
            None => self.fresh[column / PART].value(column % PART, slot),
        })
    }

    /// A row's piece that begins at `column`.
    fn piece(&self, row: usize, column: usize) -> Piece<'_, E::Bits> {
        let (tile, slot) = self.place(row, self.turns.phase(column));
        match tile {
            Some(tile) => {
                let Tile { slab, lane } = self.tiles[tile];
                let Slab { values, n_lanes } = &self.slabs[slab];
                let start = (column * n_lanes + lane) * Self::LINE + slot;
                Piece { values: &values[start..], step: n_lanes * Self::LINE }
            }
            None => Piece { values: self.fresh[column / PART].piece(column % PART / PIECE, slot), step: 1 },
        }
    }

    /// The rows as they lie now, to be read by trees.
    fn view(&self) -> View<'_, E> {
        View { pool: self, n_before: self.first_sample(), lines: Vec::new(), are_in_order: false }
    }

    /// A view that has found out where rows lie.
    pub(super) fn prepared_view(&self) -> View<'_, E> {
        let places = |tile: &Tile| {
            let (slab, start) = (tile.slab as u32, (tile.lane * Self::LINE) as u32);
            (0..Self::LINE as u32).map(move |slot| (slab, start + slot))
        };
        let lines: Vec<(u32, u32)> = self.tiles.iter().flat_map(places).collect();
        let are_in_order = lines.first().is_some_and(|place| place.0 == 0)
            && lines.windows(2).all(|pair| pair[1] == (pair[0].0, pair[0].1 + 1));
        View { lines, are_in_order, ..self.view() }
    }
}

/// A bit for each of up to 64 values that differs from the first row's.
#[inline(always)]
fn differing<E: Stored>(values: &[f32], first: &[E::Bits]) -> u64 {
    /// Puts the lowest bits of eight bytes into the highest byte, the first byte's lowest.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    // Bytes first: that the compiler vectorises.
    let mut differ = [0u8; 64];
    for ((differ, &value), &first) in differ.iter_mut().zip(values).zip(first) {
        *differ = u8::from(E::load(E::store(value)) != E::load(first));
    }
    let eights = differ.as_chunks::<8>().0.iter().enumerate();
    eights.fold(0, |bits, (i, &eight)| bits | u64::from_le_bytes(eight).wrapping_mul(GATHER) >> 56 << (8 * i))
}

/// Values of a row in [`PIECE`] columns, one every `step`.
struct Piece<'a, B> {
    values: &'a [B],
    step: usize,
}

impl<B: Copy> Piece<'_, B> {
    /// Asks for a column's value, if it is no neighbour of the one before.
    #[inline(always)]
    fn prefetch(&self, column: usize) {
        if self.step > 1 {
            super::memory::prefetch(self.values, column * self.step);
        }
    }

    #[inline(always)]
    fn get(&self, column: usize) -> B {
        self.values[column * self.step]
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
