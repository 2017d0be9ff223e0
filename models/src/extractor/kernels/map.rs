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
    /// From one pixel to the next, in values. Pixels a page apart would all want the same lines of the first cache: one line is left
    /// free between them (but not where filters read the pixels of a row as one stretch).
    pub(super) fn pixel_stride(&self) -> usize {
        const PAGE: usize = 4096 / size_of::<f32>();
        const LINE: usize = 64 / size_of::<f32>();
        let is_page = self.border == 0 && self.channels.is_multiple_of(PAGE);
        self.channels + if is_page { LINE } else { 0 }
    }

    /// From one row to the next, in values.
    pub(super) fn row_stride(&self) -> usize {
        (self.columns + 2 * self.border) * self.pixel_stride()
    }

    /// Values held, the border's included.
    pub(super) fn length(&self) -> usize {
        (self.rows + 2 * self.border) * self.row_stride()
    }

    /// Values past its end that a kernel may read and forget: it may take pixels by sixteens, at a stride of two.
    pub(super) fn beyond(&self) -> usize {
        2 * 16 * self.pixel_stride()
    }

    /// Position of a pixel's first channel in the arena.
    pub(super) fn at(&self, row: usize, column: usize) -> usize {
        self.offset + (row + self.border) * self.row_stride() + (column + self.border) * self.pixel_stride()
    }
}
