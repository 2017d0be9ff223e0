//! The transforms of Winograd's method F(2 x 2, 3 x 3), with the interpolation points 0, 1, -1 and infinity.
//!
//! It saves less than F(4 x 4, 3 x 3), 16 products of 36 in place of 36 of 144, but has 16 planes of weights in place of 36: on a map of few pixels
//! the time goes by the weights that come from memory.

use super::transform::{Input, Output, each_register};
use crate::extractor::kernels::vector::{LINE, Vector};

/// Outputs of a tile in each direction.
pub(in crate::extractor::kernels) const TILE: usize = 2;
/// Inputs of a tile in each direction.
pub(in crate::extractor::kernels) const REACH: usize = 4;

/// `B^T d`.
#[inline(always)]
unsafe fn input_1d<V: Vector>(d: [V; REACH]) -> [V; REACH] {
    // SAFETY: arithmetic alone; the caller has the instruction set.
    unsafe { [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[3].sub(d[1])] }
}

/// `A^T m`.
#[inline(always)]
unsafe fn output_1d<V: Vector>(m: [V; REACH]) -> [V; TILE] {
    // SAFETY: arithmetic alone; the caller has the instruction set.
    unsafe { [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).add(m[3])] }
}

/// `G g` of one filter row or column, in float64.
pub(in crate::extractor::kernels) fn filter_1d([first, middle, last]: [f64; 3]) -> [f64; REACH] {
    [first, (first + middle + last) / 2.0, (first - middle + last) / 2.0, last]
}

/// Transforms an input tile: `B^T d B`.
///
/// # Safety
///
/// [`Vector`]'s contract; the pixels of `rows` and `columns` can be read, the points written, `channels` is a multiple of the lanes.
#[inline(always)]
pub(in crate::extractor::kernels) unsafe fn input<V: Vector>(tile: &Input) {
    // SAFETY: the caller's promise; of a tile that is not whole only the pixels in the map are read, and then those laid out there.
    unsafe { each_register!(V, tile, REACH, input_register) }
}

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
    // SAFETY: the caller's promise.
    unsafe {
        macro_rules! column {
            ($column:literal) => {{
                let from = from.wrapping_add($column * pixel_stride);
                input_1d::<V>([
                    V::load(from),
                    V::load(from.wrapping_add(row_stride)),
                    V::load(from.wrapping_add(2 * row_stride)),
                    V::load(from.wrapping_add(3 * row_stride)),
                ])
            }};
        }
        let [c0, c1, c2, c3] = [column!(0), column!(1), column!(2), column!(3)];
        macro_rules! row {
            ($row:literal) => {
                let points = input_1d::<V>([c0[$row], c1[$row], c2[$row], c3[$row]]);
                let to = to.add($row * REACH * point_stride);
                points[0].store_then(to, LINE);
                points[1].store_then(to.add(point_stride), LINE);
                points[2].store_then(to.add(2 * point_stride), LINE);
                points[3].store_then(to.add(3 * point_stride), LINE);
            };
        }
        row!(0);
        row!(1);
        row!(2);
        row!(3);
    }
}

/// Transforms a tile of products back, `A^T m A`, and adds bias and ReLU.
///
/// # Safety
///
/// [`Vector`]'s contract; the points can be read, the pixels of `rows` and `columns` written, `width` is a multiple of the lanes.
#[inline(always)]
pub(in crate::extractor::kernels) unsafe fn output<V: Vector>(tile: &Output) {
    for channel in (0..tile.width).step_by(V::LANES) {
        let from = tile.from.wrapping_add(channel);
        macro_rules! column {
            ($column:literal) => {
                output_1d::<V>([
                    V::load(from.add($column * tile.point_stride)),
                    V::load(from.add((REACH + $column) * tile.point_stride)),
                    V::load(from.add((2 * REACH + $column) * tile.point_stride)),
                    V::load(from.add((3 * REACH + $column) * tile.point_stride)),
                ])
            };
        }
        // SAFETY: pixels outside of the map are not written; the rest is the caller's promise.
        unsafe {
            let bias = V::load(tile.bias.add(channel));
            let floor = V::splat(if tile.relu { 0.0 } else { f32::NEG_INFINITY });
            let [c0, c1, c2, c3] = [column!(0), column!(1), column!(2), column!(3)];
            macro_rules! row {
                ($row:literal) => {
                    if $row < tile.rows {
                        let pixels = output_1d::<V>([c0[$row], c1[$row], c2[$row], c3[$row]]);
                        let to = tile.to.wrapping_add($row * tile.row_stride + channel);
                        floor.max(pixels[0].add(bias)).store(to);
                        if tile.columns > 1 {
                            floor.max(pixels[1].add(bias)).store(to.add(tile.pixel_stride));
                        }
                    }
                };
            }
            row!(0);
            row!(1);
        }
    }
}
