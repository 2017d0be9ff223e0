//! Where an activation map lies in the arena.

/// A map `[rows, columns, channels]` at some offset of the arena, inside a border of zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Map {
    /// Of the border's first value, in values from the arena's start.
    pub(super) offset: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Words of a pixel: a multiple of what a panel takes, zeros beyond the layer's own channels.
    pub(super) channels: usize,
    /// Pixels of zeros on every side, written by no one.
    pub(super) border: usize,
}

impl Map {
    /// From one row to the next, in values.
    pub(super) fn row_stride(&self) -> usize {
        (self.columns + 2 * self.border) * self.channels
    }

    /// Values held, the border's included.
    pub(super) fn length(&self) -> usize {
        (self.rows + 2 * self.border) * self.row_stride()
    }

    /// Values past its end that a kernel may read and forget: it may take pixels by sixteens, at a stride of two.
    pub(super) fn beyond(&self) -> usize {
        2 * 16 * self.channels
    }

    /// Position of a pixel's first channel in the arena.
    pub(super) fn at(&self, row: usize, column: usize) -> usize {
        self.offset + (row + self.border) * self.row_stride() + (column + self.border) * self.channels
    }
}
