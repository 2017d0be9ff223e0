//! Winograd's transforms for 3 x 3 convolutions at stride 2.
//!
//! Along a direction, three outputs are made of seven inputs. Those at odd places meet the middle of the filter alone: three products. The
//! four others meet its two ends as a convolution at stride 1 does: F(3, 2) with the interpolation points 0, 1, -1 and infinity, four products
//! (section 4 of A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, 2016). So a tile of 3 x 3 outputs takes 49 products in place of 81,
//! and since the three products of the middle share their weights, 25 planes of weights.

use super::transform::{Input, Output, each_register, of_tiles};
use crate::extractor::kernels::vector::{LINE, Vector};

/// Outputs of a tile in each direction.
pub(in crate::extractor::kernels) const TILE: usize = 3;
/// Inputs of a tile in each direction, and points.
pub(in crate::extractor::kernels) const REACH: usize = 7;
/// Different transformed weights in each direction.
pub(in crate::extractor::kernels) const PLANES: usize = 5;

/// The number of the point at `row` and `column`: those that share their weights follow each other.
const fn point(row: usize, column: usize) -> usize {
    const MIDDLE: usize = PLANES - 1;
    let shared_row = if row < MIDDLE { row } else { MIDDLE };
    let shared_column = if column < MIDDLE { column } else { MIDDLE };
    let rows = if row < MIDDLE { 1 } else { TILE };
    let columns = if column < MIDDLE { 1 } else { TILE };
    REACH * shared_row + rows * shared_column + (row - shared_row) * columns + column - shared_column
}

/// The plane of weights of a point, given by its number.
pub(super) fn plane(point: usize) -> usize {
    let before = REACH * (PLANES - 1);
    if point < before {
        point / REACH * PLANES + (point % REACH).min(PLANES - 1)
    } else {
        (PLANES - 1) * PLANES + ((point - before) / TILE).min(PLANES - 1)
    }
}

/// `G g` of one filter row or column, in float64.
pub(super) fn filter_1d([first, middle, last]: [f64; 3]) -> [f64; PLANES] {
    [first, (first + last) / 2.0, (first - last) / 2.0, last, middle]
}

of_tiles!();

/// Transforms one register of channels of a whole tile.
///
/// # Safety
///
/// [`Vector`]'s contract; the pixels can be read, the points written.
#[inline(always)]
unsafe fn input_register<V: Vector>(
    from: *const f32,
    row_stride: usize,
    pixel_stride: usize,
    to: *mut f32,
    point_stride: usize,
) {
    macro_rules! pixel {
        ($row:literal, $column:literal) => {
            V::load(from.wrapping_add($row * row_stride + $column * pixel_stride))
        };
    }
    // A row of points, of one row of pixels or of two.
    macro_rules! row {
        ($row:literal: $pixels:expr) => {
            let p: [V; REACH] = $pixels;
            p[0].sub(p[4]).store_then(to.add(const { point($row, 0) } * point_stride), LINE);
            p[2].add(p[4]).store_then(to.add(const { point($row, 1) } * point_stride), LINE);
            p[4].sub(p[2]).store_then(to.add(const { point($row, 2) } * point_stride), LINE);
            p[6].sub(p[2]).store_then(to.add(const { point($row, 3) } * point_stride), LINE);
            p[1].store_then(to.add(const { point($row, 4) } * point_stride), LINE);
            p[3].store_then(to.add(const { point($row, 5) } * point_stride), LINE);
            p[5].store_then(to.add(const { point($row, 6) } * point_stride), LINE);
        };
        ($row:literal, $one:literal) => {
            row!($row: [pixel!($one, 0), pixel!($one, 1), pixel!($one, 2), pixel!($one, 3), pixel!($one, 4), pixel!($one, 5), pixel!($one, 6)])
        };
        ($row:literal, $one:literal $with:ident $other:literal) => {
            row!($row: [
                pixel!($one, 0).$with(pixel!($other, 0)),
                pixel!($one, 1).$with(pixel!($other, 1)),
                pixel!($one, 2).$with(pixel!($other, 2)),
                pixel!($one, 3).$with(pixel!($other, 3)),
                pixel!($one, 4).$with(pixel!($other, 4)),
                pixel!($one, 5).$with(pixel!($other, 5)),
                pixel!($one, 6).$with(pixel!($other, 6)),
            ])
        };
    }
    // SAFETY: the caller's promise.
    unsafe {
        row!(0, 0 sub 4);
        row!(1, 2 add 4);
        row!(2, 4 sub 2);
        row!(3, 6 sub 2);
        row!(4, 1);
        row!(5, 3);
        row!(6, 5);
    }
}

/// As [`output`]; a `WHOLE` tile has all its rows and columns.
///
/// # Safety
///
/// As that.
#[inline(always)]
unsafe fn output_tile<V: Vector, const WHOLE: bool>(tile: &Output) {
    for channel in (0..tile.width).step_by(V::LANES) {
        let from = tile.from.wrapping_add(channel);
        // The three values of a row of points.
        macro_rules! row {
            ($row:literal) => {{
                macro_rules! at {
                    ($column:literal) => {
                        V::load(from.add(const { point($row, $column) } * tile.point_stride))
                    };
                }
                let (one, other) = (at!(1), at!(2));
                let sum = one.add(other);
                [at!(0).add(sum).add(at!(4)), one.sub(other).add(at!(5)), sum.add(at!(3)).add(at!(6))]
            }};
        }
        // SAFETY: pixels outside of the map are not written; the rest is the caller's promise.
        unsafe {
            let bias = V::load(tile.bias.add(channel));
            let floor = V::splat(if tile.relu { 0.0 } else { f32::NEG_INFINITY });
            let rows: [[V; TILE]; REACH] = [row!(0), row!(1), row!(2), row!(3), row!(4), row!(5), row!(6)];
            macro_rules! column {
                ($column:literal) => {
                    if WHOLE || $column < tile.columns {
                        let (one, other) = (rows[1][$column], rows[2][$column]);
                        let sum = one.add(other);
                        let pixels = [
                            rows[0][$column].add(sum).add(rows[4][$column]),
                            one.sub(other).add(rows[5][$column]),
                            sum.add(rows[3][$column]).add(rows[6][$column]),
                        ];
                        let to = tile.to.wrapping_add($column * tile.pixel_stride + channel);
                        for (row, value) in pixels.into_iter().enumerate() {
                            if WHOLE || row < tile.rows {
                                floor
                                    .max(value.add(bias))
                                    .store_then(to.add(row * tile.row_stride), tile.width);
                            }
                        }
                    }
                };
            }
            column!(0);
            column!(1);
            column!(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_numbered_once_and_those_with_the_same_weights_in_turn() {
        let mut seen = [false; REACH * REACH];
        let axis = |at: usize| at.min(PLANES - 1);
        for row in 0..REACH {
            for column in 0..REACH {
                let number = point(row, column);
                assert!(!std::mem::replace(&mut seen[number], true));
                assert_eq!(plane(number), axis(row) * PLANES + axis(column));
            }
        }
        assert!((1..REACH * REACH).all(|number| plane(number - 1) <= plane(number)));
    }
}
