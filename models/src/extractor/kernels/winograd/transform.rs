//! The transforms of Winograd's method F(4 x 4, 3 x 3).
//!
//! After A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks (2016), section 4, with the interpolation
//! points 0, ±P, ±Q and infinity. P and Q are the reciprocals sqrt(1/2) and sqrt(2), not 1 and 2: their powers stay closer to
//! one, so that less is lost to rounding (B. Barabasz et al., Error Analysis and Improving the Accuracy of Winograd
//! Convolution for Deep Neural Networks, 2020).

use crate::extractor::kernels::vector::{LINE, Vector};

/// Outputs of a tile in each direction.
pub(in crate::extractor::kernels) const TILE: usize = 4;
/// Inputs of a tile in each direction: the outputs and one pixel on either side.
pub(in crate::extractor::kernels) const REACH: usize = 6;

const P: f32 = std::f32::consts::FRAC_1_SQRT_2;
const Q: f32 = std::f32::consts::SQRT_2;
/// The squares, exactly.
const P2: f32 = 0.5;
const Q2: f32 = 2.0;

/// One input tile to transform, over all its channels.
pub(in crate::extractor::kernels) struct Input {
    /// The pixel at the tile's first row and column, which may lie outside of the map.
    pub(in crate::extractor::kernels) from: *const f32,
    pub(in crate::extractor::kernels) row_stride: usize,
    pub(in crate::extractor::kernels) pixel_stride: usize,
    pub(in crate::extractor::kernels) channels: usize,
    /// Whether all of the tile lies in the map. Asked of `rows` and `columns` it would be asked by wide loads of what narrow stores have just
    /// written, which wait until all stores before them have reached the cache.
    pub(in crate::extractor::kernels) whole: bool,
    /// The tile's rows `[first, end)` that lie in the map; the others are zero.
    pub(in crate::extractor::kernels) rows: [usize; 2],
    /// The same of its columns.
    pub(in crate::extractor::kernels) columns: [usize; 2],
    /// `[points][channels]`, `point_stride` apart.
    pub(in crate::extractor::kernels) to: *mut f32,
    pub(in crate::extractor::kernels) point_stride: usize,
}

/// One output tile to transform back, over one panel of channels.
pub(in crate::extractor::kernels) struct Output {
    /// `[points][width]`, `point_stride` apart.
    pub(in crate::extractor::kernels) from: *const f32,
    pub(in crate::extractor::kernels) point_stride: usize,
    /// Channels to compute.
    pub(in crate::extractor::kernels) width: usize,
    pub(in crate::extractor::kernels) bias: *const f32,
    pub(in crate::extractor::kernels) relu: bool,
    pub(in crate::extractor::kernels) to: *mut f32,
    pub(in crate::extractor::kernels) row_stride: usize,
    pub(in crate::extractor::kernels) pixel_stride: usize,
    /// Rows and columns of the tile that lie in the map.
    pub(in crate::extractor::kernels) rows: usize,
    pub(in crate::extractor::kernels) columns: usize,
}

/// `B^T d`: for each point the polynomial that vanishes at all the others.
#[inline(always)]
unsafe fn input_1d<V: Vector>(d: [V; REACH]) -> [V; REACH] {
    // SAFETY: arithmetic alone; the caller has the instruction set.
    unsafe {
        let sum = V::splat(-(P2 + Q2));
        let even_p = d[4].add_product(V::splat(-Q2), d[2]);
        let odd_p = d[3].add_product(V::splat(-Q2), d[1]);
        let even_q = d[4].add_product(V::splat(-P2), d[2]);
        let odd_q = d[3].add_product(V::splat(-P2), d[1]);
        [
            // P2 * Q2 == 1
            d[0].add(d[4]).add_product(sum, d[2]),
            even_p.add_product(V::splat(P), odd_p),
            even_p.add_product(V::splat(-P), odd_p),
            even_q.add_product(V::splat(Q), odd_q),
            even_q.add_product(V::splat(-Q), odd_q),
            d[1].add(d[5]).add_product(sum, d[3]),
        ]
    }
}

/// `A^T m`: the values at 0..4 of the polynomial found.
#[inline(always)]
unsafe fn output_1d<V: Vector>(m: [V; REACH]) -> [V; TILE] {
    // SAFETY: arithmetic alone; the caller has the instruction set.
    unsafe {
        let (even_p, odd_p) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (even_q, odd_q) = (m[3].add(m[4]), m[3].sub(m[4]));
        let zero = V::splat(0.0);
        [
            m[0].add(even_p).add(even_q),
            zero.add_product(V::splat(P), odd_p).add_product(V::splat(Q), odd_q),
            zero.add_product(V::splat(P2), even_p).add_product(V::splat(Q2), even_q),
            m[5].add_product(V::splat(P * P2), odd_p).add_product(V::splat(Q * Q2), odd_q),
        ]
    }
}

/// `G g` of one filter row or column, in float64.
pub(in crate::extractor::kernels) fn filter_1d(g: [f64; 3]) -> [f64; REACH] {
    let (p, q) = (0.5f64.sqrt(), 2.0f64.sqrt());
    let (n_p, n_q) = (2.0 * 0.5 * (0.5 - 2.0), 2.0 * 2.0 * (2.0 - 0.5));
    let at = |x: f64, n: f64| (g[0] + x * g[1] + x * x * g[2]) / n;
    [g[0], at(p, n_p), at(-p, n_p), at(q, n_q), at(-q, n_q), g[2]]
}

// Rows and columns below are written out: as loops they stay in memory, and a closure that is not inlined loses the instruction set.
// So is a tile that lies in its map as a whole, as most do: with a question for each pixel there are more questions than sums.

/// Calls `$transform` with the address of each register of an input tile's channels, from pixel to pixel and from row to row, and where its
/// points go. Of a tile at the map's edge the pixels are first laid beside each other, with zeros for those that it lacks.
macro_rules! each_register {
    ($vector:ident, $tile:ident, $reach:ident, $transform:ident) => {
        if $tile.whole {
            for channel in (0..$tile.channels).step_by($vector::LANES) {
                let from = $tile.from.wrapping_add(channel);
                $transform::<$vector>(
                    from,
                    $tile.row_stride,
                    $tile.pixel_stride,
                    $tile.to.add(channel),
                    $tile.point_stride,
                );
            }
        } else {
            let mut pixels = [[$vector::splat(0.0); $reach]; $reach];
            for channel in (0..$tile.channels).step_by($vector::LANES) {
                let from = $tile.from.wrapping_add(channel);
                for row in $tile.rows[0]..$tile.rows[1] {
                    for column in $tile.columns[0]..$tile.columns[1] {
                        let at = row * $tile.row_stride + column * $tile.pixel_stride;
                        pixels[row][column] = $vector::load(from.wrapping_add(at));
                    }
                }
                let (from, to) = (pixels.as_ptr().cast(), $tile.to.add(channel));
                $transform::<$vector>(from, $reach * $vector::LANES, $vector::LANES, to, $tile.point_stride);
            }
        }
    };
}
pub(super) use each_register;

/// Transforms an input tile: `B^T d B`.
///
/// # Safety
///
/// [`Vector`]'s contract; the pixels of `rows` and `columns` can be read, the points written, `channels` is a multiple of the lanes.
#[inline(always)]
pub(in crate::extractor::kernels) unsafe fn input<V: Vector>(tile: &Input) {
    // SAFETY: the caller's promise; of a tile that is not whole only the pixels in the map are read, and then those laid out here.
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
                    V::load(from.wrapping_add(5 * row_stride)),
                ])
            }};
        }
        let half = [column!(0), column!(1), column!(2), column!(3), column!(4), column!(5)];
        macro_rules! row {
            ($row:literal) => {
                let [c0, c1, c2, c3, c4, c5] = &half;
                let points = input_1d::<V>([c0[$row], c1[$row], c2[$row], c3[$row], c4[$row], c5[$row]]);
                let to = to.add($row * REACH * point_stride);
                points[0].store_then(to, LINE);
                points[1].store_then(to.add(point_stride), LINE);
                points[2].store_then(to.add(2 * point_stride), LINE);
                points[3].store_then(to.add(3 * point_stride), LINE);
                points[4].store_then(to.add(4 * point_stride), LINE);
                points[5].store_then(to.add(5 * point_stride), LINE);
            };
        }
        row!(0);
        row!(1);
        row!(2);
        row!(3);
        row!(4);
        row!(5);
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
                    V::load(from.add((5 * REACH + $column) * tile.point_stride)),
                ])
            };
        }
        // SAFETY: pixels outside of the map are not written; the rest is the caller's promise.
        unsafe {
            let bias = V::load(tile.bias.add(channel));
            let floor = V::splat(if tile.relu { 0.0 } else { f32::NEG_INFINITY });
            let half = [column!(0), column!(1), column!(2), column!(3), column!(4), column!(5)];
            macro_rules! row {
                ($row:literal) => {
                    if WHOLE || $row < tile.rows {
                        let [c0, c1, c2, c3, c4, c5] = &half;
                        let pixels =
                            output_1d::<V>([c0[$row], c1[$row], c2[$row], c3[$row], c4[$row], c5[$row]]);
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
            row!(3);
        }
    }
}
