//! Maximum over 3 x 3 pixels at stride 2 with one pixel of padding, a row at a time.

use super::vector::Vector;

/// One output row and the up to three input rows above it; a row outside the map is given as its neighbour, which changes no maximum.
pub(super) struct Row {
    pub(super) inputs: [*const f32; 3],
    pub(super) columns_in: usize,
    pub(super) columns_out: usize,
    pub(super) channels: usize,
    pub(super) output: *mut f32,
    /// From one pixel of the output to the next.
    pub(super) output_stride: usize,
}

/// The columns of the output of a map of `columns`: those of a 3-wide window at stride 2 with one pixel of padding.
pub(super) fn pooled(columns: usize) -> usize {
    (columns - 1) / 2 + 1
}

/// Computes one row; a NaN is the greatest of all, so that none is lost.
///
/// # Safety
///
/// [`Vector`]'s contract; the inputs hold `[columns_in, channels]`, the output `columns_out` times as many, `channels` is a multiple
/// of the lanes and `columns_out == pooled(columns_in)`.
#[inline(always)]
pub(super) unsafe fn pool_row<V: Vector>(row: &Row) {
    for channel in (0..row.channels).step_by(V::LANES) {
        // The greatest of a column's three rows.
        macro_rules! column {
            ($column:expr) => {{
                let at = $column * row.channels + channel;
                V::load(row.inputs[0].add(at))
                    .max_or_nan(V::load(row.inputs[1].add(at)))
                    .max_or_nan(V::load(row.inputs[2].add(at)))
            }};
        }
        // SAFETY: every column is less than `columns_in`, `x < columns_out` and `channel + LANES <= channels`.
        unsafe {
            let mut before = column!(0);
            for x in 0..row.columns_out {
                let middle = column!(2 * x);
                let after = if 2 * x + 1 < row.columns_in { column!(2 * x + 1) } else { middle };
                before
                    .max_or_nan(middle)
                    .max_or_nan(after)
                    .store(row.output.add(x * row.output_stride + channel));
                before = after;
            }
        }
    }
}
