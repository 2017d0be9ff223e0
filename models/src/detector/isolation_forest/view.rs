//! A pool's rows as trees read them.

use super::super::memory::{prefetch, prefetch_many};
use super::super::samples::{Samples, collect_up_to};
use super::super::twins::Twins;
use super::{DIGESTED, PART, PIECE, SamplePool, Stored, Tile};
use crate::Result;
use rayon::prelude::*;
use std::borrow::Cow;

/// A pool's rows as samples.
pub(in super::super) struct View<'a, E: Stored> {
    pub(super) pool: &'a SamplePool<E>,
    /// Rows that there have been before the first sample.
    pub(super) n_before: usize,
    /// Slab of a place of the tiles, in order, and where it lies among the lines of column 0 there; empty where that was not asked for.
    pub(super) lines: Vec<(u32, u32)>,
    /// These places are of one slab and go up by one.
    pub(super) are_in_order: bool,
}

/// Rows in which a column is to be read.
struct Split<'a, 'r> {
    /// Of samples in lines: slab, and place among the lines of column 0.
    places: &'a [(u32, u32)],
    in_lines: &'r [u32],
    others: &'r [u32],
    /// The column's.
    phase: usize,
}

impl<E: Stored> View<'_, E> {
    const LINE: usize = SamplePool::<E>::LINE;

    /// The values of a column in a slab.
    #[inline(always)]
    fn column(&self, slab: u32, column: u32) -> &[E::Bits] {
        let slab = &self.pool.slabs[slab as usize];
        let n = slab.n_lanes * Self::LINE;
        &slab.values[column as usize * n..][..n]
    }

    /// Of `columns`, those in which two rows differ.
    fn differences_in(&self, columns: std::ops::Range<usize>, first: u32, second: u32) -> Vec<u32> {
        /// Columns asked for before they are read.
        const N_AHEAD: usize = 16;
        let mut found = Vec::new();
        for start in columns.clone().step_by(PIECE) {
            let [a, b] = [first, second].map(|row| self.pool.piece(self.n_before + row as usize, start));
            for i in 0..PIECE.min(columns.end - start) {
                a.prefetch(i + N_AHEAD);
                b.prefetch(i + N_AHEAD);
                if E::load(a.get(i)) != E::load(b.get(i)) {
                    found.push((start + i) as u32);
                }
            }
        }
        found
    }

    #[inline(always)]
    fn split<'r>(&self, column: u32, rows: &'r [u32]) -> Split<'_, 'r> {
        let pool = self.pool;
        let phase = pool.turns.phase(column as usize);
        if self.lines.is_empty() {
            return Split { places: &[], in_lines: &[], others: rows, phase };
        }
        let n_complete = (pool.n_ever() + phase) / Self::LINE * Self::LINE;
        let n_in_lines = n_complete.saturating_sub(phase + self.n_before) as u32;
        let places = self.lines.get(self.n_before + phase - pool.n_tiles_gone * Self::LINE..);
        let places = places.unwrap_or_default();
        match rows.last() {
            Some(&last) if last >= n_in_lines => {
                let (in_lines, others) = rows.split_at(rows.partition_point(|&row| row < n_in_lines));
                Split { places, in_lines, others, phase }
            }
            _ => Split { places, in_lines: rows, others: &[], phase },
        }
    }
}

impl<E: Stored> Samples for View<'_, E> {
    fn n_rows(&self) -> usize {
        self.pool.n_ever() - self.n_before
    }

    fn n_features(&self) -> usize {
        self.pool.n_features
    }

    #[inline]
    fn value(&self, row: u32, column: u32) -> f32 {
        self.pool.value(self.n_before + row as usize, column as usize)
    }

    #[inline]
    fn gather(&self, column: u32, rows: &[u32], values: &mut Vec<f32>) {
        let Split { places, in_lines, others, .. } = self.split(column, rows);
        values.clear();
        if self.are_in_order {
            let first = places.first().map_or(0, |place| place.1 as usize);
            let column = &self.column(0, column)[first..];
            values.extend(in_lines.iter().map(|&row| E::load(column[row as usize])));
        } else if self.pool.slabs.len() == 1 {
            let column = self.column(0, column);
            values.extend(in_lines.iter().map(|&row| E::load(column[places[row as usize].1 as usize])));
        } else {
            values.extend(in_lines.iter().map(|&row| {
                let (slab, place) = places[row as usize];
                E::load(self.column(slab, column)[place as usize])
            }));
        }
        values.extend(others.iter().map(|&row| self.value(row, column)));
    }

    #[inline]
    fn prefetch(&self, column: u32, rows: &[u32]) {
        let Split { places, in_lines, others, phase } = self.split(column, rows);
        let tiles = &self.pool.tiles;
        if in_lines.len() > tiles.len() + tiles.len() / 2 {
            // They are in most of the lines, and to ask for all of them is quicker than to find out in which.
            for &Tile { slab, lane } in tiles {
                prefetch_many(self.column(slab as u32, column), lane * Self::LINE);
            }
        } else if self.are_in_order {
            let first = places.first().map_or(0, |place| place.1 as usize);
            let line = |row: u32| (first + row as usize) / Self::LINE;
            let column = self.column(0, column);
            // As bits, without a branch: whether the next row is in the same line cannot be predicted.
            let mut rows = in_lines;
            while let Some(&row) = rows.first() {
                let start = line(row);
                let (near, rest) = rows.split_at(rows.partition_point(|&row| line(row) < start + 64));
                let mut lines = near.iter().fold(0u64, |lines, &row| lines | 1 << (line(row) - start));
                while lines != 0 {
                    prefetch_many(column, (start + lines.trailing_zeros() as usize) * Self::LINE);
                    lines &= lines - 1;
                }
                rows = rest;
            }
        } else {
            let mut last = (u32::MAX, u32::MAX);
            for &row in in_lines {
                let (slab, place) = places[row as usize];
                let line = (slab, place / Self::LINE as u32);
                if line != last {
                    prefetch(self.column(slab, column), place as usize);
                    last = line;
                }
            }
        }
        let column = column as usize;
        for &row in others {
            if let (None, slot) = self.pool.place(self.n_before + row as usize, phase) {
                self.pool.fresh[column / PART].prefetch(column % PART, slot);
            }
        }
    }

    #[inline]
    fn touch(&self, column: u32, rows: &[u32]) {
        let Split { places, in_lines, .. } = self.split(column, rows);
        for &row in in_lines.first().into_iter().chain(in_lines.last()) {
            let (slab, place) = places[row as usize];
            prefetch_many(self.column(slab, column), place as usize);
        }
    }

    #[inline]
    fn is_known_constant(&self, column: u32) -> bool {
        (self.pool.varied[column as usize / 64] >> (column % 64)) & 1 == 0
    }

    fn differences(&self, first: u32, second: u32, limit: usize) -> Option<Vec<u32>> {
        let [a, b] = [first, second].map(|row| {
            let row_idx = self.n_before - self.pool.n_gone + row as usize;
            &self.pool.digests[row_idx]
        });
        let differing: Vec<usize> = (0..a.len()).filter(|&i| a[i] != b[i]).collect();
        collect_up_to(limit, differing.len(), |i| {
            let columns = differing[i] * DIGESTED..((differing[i] + 1) * DIGESTED).min(self.pool.n_features);
            self.differences_in(columns, first, second)
        })
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
