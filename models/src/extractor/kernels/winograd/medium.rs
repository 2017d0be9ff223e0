//! The transforms of Winograd's method F(3 x 3, 3 x 3), with the interpolation points ±P, ±Q and infinity.
//!
//! It does 25 products of 81 on 25 planes of weights, where F(4 x 4, 3 x 3) does 36 of 144 on 36: on a map of some hundred pixels fewer weights
//! from memory are worth more than fewer products. Without the point 0 all others come in pairs, whose sums are shared; of such points those
//! near a half and five quarters lose least to rounding (tried by steps of a tenth, on sums of 256 channels), half as much as the larger
//! method's.

use super::transform::{Input, Output, each_register};
use crate::extractor::kernels::vector::{LINE, Vector};

/// Outputs of a tile in each direction.
pub(in crate::extractor::kernels) const TILE: usize = 3;
/// Inputs of a tile in each direction.
pub(in crate::extractor::kernels) const REACH: usize = 5;

const P: f32 = 0.5;
const Q: f32 = 1.25;
const P2: f32 = P * P;
const Q2: f32 = Q * Q;

/// `B^T d`: for each point the polynomial that vanishes at all the others.
#[inline(always)]
unsafe fn input_1d<V: Vector>(d: [V; REACH]) -> [V; REACH] {
    // SAFETY: arithmetic alone; the caller has the instruction set.
    unsafe {
        let even_p = d[2].add_product(V::splat(-Q2), d[0]);
        let odd_p = d[3].add_product(V::splat(-Q2), d[1]);
        let even_q = d[2].add_product(V::splat(-P2), d[0]);
        let odd_q = d[3].add_product(V::splat(-P2), d[1]);
        [
            odd_p.add_product(V::splat(P), even_p),
            odd_p.add_product(V::splat(-P), even_p),
            odd_q.add_product(V::splat(Q), even_q),
            odd_q.add_product(V::splat(-Q), even_q),
            d[4].add_product(V::splat(-Q2), d[2]).add_product(V::splat(-P2), even_p),
        ]
    }
}

/// `A^T m`: the values at 0..3 of the polynomial found.
#[inline(always)]
unsafe fn output_1d<V: Vector>(m: [V; REACH]) -> [V; TILE] {
    // SAFETY: arithmetic alone; the caller has the instruction set.
    unsafe {
        let (even_p, odd_p) = (m[0].add(m[1]), m[0].sub(m[1]));
        let (even_q, odd_q) = (m[2].add(m[3]), m[2].sub(m[3]));
        let zero = V::splat(0.0);
        [
            even_p.add(even_q),
            zero.add_product(V::splat(P), odd_p).add_product(V::splat(Q), odd_q),
            m[4].add_product(V::splat(P2), even_p).add_product(V::splat(Q2), even_q),
        ]
    }
}

/// `G g` of one filter row or column, in float64.
pub(in crate::extractor::kernels) fn filter_1d(g: [f64; 3]) -> [f64; REACH] {
    let (p, q) = (f64::from(P), f64::from(Q));
    let (n_p, n_q) = (2.0 * p * (p * p - q * q), 2.0 * q * (q * q - p * p));
    let at = |x: f64, n: f64| (g[0] + x * g[1] + x * x * g[2]) / n;
    [at(p, n_p), at(-p, -n_p), at(q, n_q), at(-q, -n_q), g[2]]
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
                    V::load(from.wrapping_add(4 * row_stride)),
                ])
            }};
        }
        let half = [column!(0), column!(1), column!(2), column!(3), column!(4)];
        macro_rules! row {
            ($row:literal) => {
                let [c0, c1, c2, c3, c4] = &half;
                let points = input_1d::<V>([c0[$row], c1[$row], c2[$row], c3[$row], c4[$row]]);
                let to = to.add($row * REACH * point_stride);
                points[0].store_then(to, LINE);
                points[1].store_then(to.add(point_stride), LINE);
                points[2].store_then(to.add(2 * point_stride), LINE);
                points[3].store_then(to.add(3 * point_stride), LINE);
                points[4].store_then(to.add(4 * point_stride), LINE);
            };
        }
        row!(0);
        row!(1);
        row!(2);
        row!(3);
        row!(4);
    }
}

/// Transforms a tile of products back, `A^T m A`, and adds bias and ReLU.
///
/// # Safety
///
/// [`Vector`]'s contract; the points can be read, the pixels of `rows` and `columns` written, `width` is a multiple of the lanes.
#[inline(always)]
pub(in crate::extractor::kernels) unsafe fn output<V: Vector>(tile: &Output) {
    // SAFETY: the caller's promise.
    unsafe {
        if tile.rows == TILE && tile.columns == TILE {
            output_tile::<V, true>(tile);
        } else {
            output_tile::<V, false>(tile);
        }
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
        macro_rules! column {
            ($column:literal) => {
                output_1d::<V>([
                    V::load(from.add($column * tile.point_stride)),
                    V::load(from.add((REACH + $column) * tile.point_stride)),
                    V::load(from.add((2 * REACH + $column) * tile.point_stride)),
                    V::load(from.add((3 * REACH + $column) * tile.point_stride)),
                    V::load(from.add((4 * REACH + $column) * tile.point_stride)),
                ])
            };
        }
        // SAFETY: pixels outside of the map are not written; the rest is the caller's promise.
        unsafe {
            let bias = V::load(tile.bias.add(channel));
            let floor = V::splat(if tile.relu { 0.0 } else { f32::NEG_INFINITY });
            let half = [column!(0), column!(1), column!(2), column!(3), column!(4)];
            macro_rules! row {
                ($row:literal) => {
                    if WHOLE || $row < tile.rows {
                        let [c0, c1, c2, c3, c4] = &half;
                        let pixels = output_1d::<V>([c0[$row], c1[$row], c2[$row], c3[$row], c4[$row]]);
                        let to = tile.to.wrapping_add($row * tile.row_stride + channel);
                        for (column, value) in pixels.into_iter().enumerate() {
                            if WHOLE || column < tile.columns {
                                floor
                                    .max(value.add(bias))
                                    .store_then(to.add(column * tile.pixel_stride), tile.width);
                            }
                        }
                    }
                };
            }
            row!(0);
            row!(1);
            row!(2);
        }
    }
}
