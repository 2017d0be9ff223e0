//! The newest rows of a pool, until they are as many as a line holds.
//!
//! A row is cut into pieces of some columns, and a piece lies in a block of its own. The pieces of a column's newest rows are turned
//! into lines when there are enough, at another row for every sixteenth stretch of pieces: so every append turns as much as it brings,
//! and of a line's rows half are held on average. Stretches are as long as pages where there are columns enough: an append
//! writes to a sixteenth of the pages of new lines, which the system has to clear first, and not to some place in each.

use super::memory::{LINE_BYTES, Plain, Zeros, end_streams, prefetch, stream};

/// Columns of a piece: its rows are turned together.
pub(super) const PIECE: usize = 256;
/// Columns that one thread appends to at a time; a multiple of those of which all phases have as many.
pub(super) const PART: usize = 1 << 17;

/// Whose turn it is: each column has a phase, the row of its line at which it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turns {
    line: usize,
    /// Pieces that follow each other and have one phase, as a power of two.
    log_pieces: u32,
}

impl Turns {
    /// - `line`: values in a line, a power of two.
    pub(super) fn new(n_features: usize, line: usize) -> Self {
        // All phases four times, so that they have about as many columns each.
        let most = n_features / PIECE / (4 * line);
        Self { line, log_pieces: most.clamp(1, PART / PIECE / line).ilog2() }
    }

    #[inline(always)]
    pub(super) fn phase(self, column: usize) -> usize {
        self.of_piece(column / PIECE)
    }

    /// The phase of a piece, which may be counted from the beginning of its part.
    #[inline(always)]
    pub(super) fn of_piece(self, piece: usize) -> usize {
        (piece >> self.log_pieces) & (self.line - 1)
    }

    /// The piece whose phase is greater by `n`, at the same place among those of one phase.
    #[inline(always)]
    pub(super) fn later(self, piece: usize, n: usize) -> usize {
        piece + (n << self.log_pieces)
    }
}

/// The newest rows of some columns.
#[derive(Debug, Clone)]
pub(super) struct Fresh<B: Plain> {
    /// Blocks of [`PIECE`] values; the first is zeros, for rows before the first.
    blocks: Zeros<B>,
    /// `[piece, line]`: the block of each row.
    held: Vec<u32>,
    free: Vec<u32>,
    line: usize,
}

impl<B: Plain> Fresh<B> {
    /// Of `n_columns`, at most [`PART`].
    pub(super) fn new(n_columns: usize, turns: Turns) -> Self {
        let line = turns.line;
        let n_pieces = n_columns.div_ceil(PIECE);
        // As many as are ever held between appends, and during one before the next pieces are turned.
        let held = |n_rows| (0..n_pieces).map(|piece| (n_rows + turns.of_piece(piece)) % line).sum::<usize>();
        let n_blocks = (0..line).map(held).max().unwrap_or(0) + turns.later(0, line);
        Self {
            blocks: Zeros::new((n_blocks + 1) * PIECE),
            held: vec![0; n_pieces * line],
            free: (1..=n_blocks as u32).rev().collect(),
            line,
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.free.extend(self.held.iter().filter(|&&block| block != 0));
        self.held.fill(0);
    }

    /// The value of a column in the row that has `slot` in its line.
    #[inline(always)]
    pub(super) fn value(&self, column: usize, slot: usize) -> B {
        self.blocks[self.position(column, slot)]
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, column: usize, slot: usize) {
        prefetch(&self.blocks, self.position(column, slot));
    }

    /// Asks for a row of a piece, if there is such a piece.
    #[inline(always)]
    pub(super) fn ask_for(&self, piece: usize, slot: usize) {
        if let Some(&block) = self.held.get(piece * self.line + slot) {
            let values = &self.blocks[block as usize * PIECE..][..PIECE];
            (0..PIECE).step_by(LINE_BYTES / size_of::<B>()).for_each(|i| prefetch(values, i));
        }
    }

    #[inline(always)]
    fn position(&self, column: usize, slot: usize) -> usize {
        let block = self.held[column / PIECE * self.line + slot];
        block as usize * PIECE + column % PIECE
    }

    /// Takes a piece of a row as the one at `slot` of its line, which is not the last.
    pub(super) fn take(&mut self, piece: usize, slot: usize, values: impl ExactSizeIterator<Item = B>) {
        let block = self.free.pop().expect("blocks were counted");
        self.held[piece * self.line + slot] = block;
        let out = &mut self.blocks[block as usize * PIECE..][..values.len()];
        out.iter_mut().zip(values).for_each(|(out, value)| *out = value);
    }

    /// Forgets the rows of a piece from `slot` on.
    pub(super) fn drop_from(&mut self, piece: usize, slot: usize) {
        let held = &mut self.held[piece * self.line + slot..(piece + 1) * self.line];
        self.free.extend(held.iter().filter(|&&block| block != 0));
        held.fill(0);
    }

    /// Turns the rows of a piece into lines, `last` the last of them, and forgets them.
    ///
    /// - `lines`: column `i` of the piece has the line that begins at `i * step`.
    pub(super) fn turn(&mut self, piece: usize, last: &[B], lines: &mut [B], step: usize) {
        const SIDE: usize = 8;
        const MOST: usize = 32;
        let line = self.line;
        let mut turned = [B::default(); SIDE * MOST];
        for first in (0..last.len()).step_by(SIDE) {
            let n_columns = SIDE.min(last.len() - first);
            for rows in (0..line).step_by(SIDE) {
                let block: [[B; SIDE]; SIDE] = std::array::from_fn(|i| {
                    let row = if rows + i + 1 == line {
                        &last[first..]
                    } else {
                        let block = self.held[piece * line + rows + i] as usize;
                        &self.blocks[block * PIECE + first..]
                    };
                    match row.first_chunk::<SIDE>() {
                        Some(values) => *values,
                        None => std::array::from_fn(|j| row.get(j).copied().unwrap_or_default()),
                    }
                });
                for j in 0..SIDE {
                    let column: [B; SIDE] = std::array::from_fn(|i| block[i][j]);
                    turned[j * line + rows..][..SIDE].copy_from_slice(&column);
                }
            }
            for j in 0..n_columns {
                stream(&mut lines[(first + j) * step..][..line], &turned[j * line..][..line]);
            }
        }
        end_streams();
        self.drop_from(piece, 0);
    }

    /// Takes the first `n_rows` of a line back, where none is held.
    pub(super) fn turn_back(
        &mut self,
        piece: usize,
        n_columns: usize,
        n_rows: usize,
        lines: &[B],
        step: usize,
    ) {
        for slot in 0..n_rows {
            self.take(piece, slot, (0..n_columns).map(|i| lines[i * step + slot]));
        }
    }

    /// The piece of a row.
    pub(super) fn piece(&self, piece: usize, slot: usize) -> &[B] {
        &self.blocks[self.held[piece * self.line + slot] as usize * PIECE..][..PIECE]
    }

    /// Bytes held.
    pub(super) fn n_bytes(&self) -> usize {
        size_of_val(&*self.blocks) + size_of_val(&*self.held)
    }
}
