//! The transforms of Winograd's method F(4, 4) along the rows of the first layer.
//!
//! Seven columns of filter at stride 2 are four at stride 1 on pairs of columns, the last with a zero. Along a row, seven products give four outputs of
//! such a filter where the definition takes sixteen: half the multiplications of 7 x 7, as rows stay as they are. The interpolation points are 0, ±P, ±Q
//! and ±R, all finite, so that all but one come in pairs, whose sums are shared; among such points these lose least to rounding (tried by
//! steps of a tenth on sums of 8 and 42 channels), less than twice as much as the definition in f32.

use super::transform::each;
use crate::extractor::kernels::vector::Vector;

/// Columns of filter, in pairs.
pub(in crate::extractor::kernels) const TAPS: usize = 4;
/// Outputs of a tile.
pub(in crate::extractor::kernels) const TILE: usize = 4;
/// Inputs of a tile, and points.
pub(in crate::extractor::kernels) const REACH: usize = TILE + TAPS - 1;
/// Values that may be read and written beyond those asked for: the widest register's.
pub(in crate::extractor::kernels) const BEYOND: usize = 16;

const P: f32 = 0.5;
const Q: f32 = 1.25;
const R: f32 = 3.0;
const P2: f32 = P * P;
const Q2: f32 = Q * Q;
const R2: f32 = R * R;

/// A row of an image to transform.
pub(in crate::extractor::kernels) struct Input {
    /// `[pairs][group]`, of which tile `i` takes the seven from pair `4 i` on.
    pub(in crate::extractor::kernels) from: *const f32,
    /// Values of a pair of columns.
    pub(in crate::extractor::kernels) group: usize,
    pub(in crate::extractor::kernels) tiles: usize,
    /// `[points][tiles][group]`, points `point_stride` apart.
    pub(in crate::extractor::kernels) to: *mut f32,
    pub(in crate::extractor::kernels) point_stride: usize,
}

/// Tiles of products to transform back, over one panel of channels.
pub(in crate::extractor::kernels) struct Output {
    /// `[points][tiles][width]`, points `point_stride` apart.
    pub(in crate::extractor::kernels) from: *const f32,
    pub(in crate::extractor::kernels) point_stride: usize,
    pub(in crate::extractor::kernels) tiles: usize,
    /// Channels to compute.
    pub(in crate::extractor::kernels) width: usize,
    pub(in crate::extractor::kernels) bias: *const f32,
    /// Four pixels for each tile, one after the other.
    pub(in crate::extractor::kernels) to: *mut f32,
    pub(in crate::extractor::kernels) pixel_stride: usize,
}

/// `B^T d`: for each point the polynomial that vanishes at all the others.
#[inline(always)]
unsafe fn input_1d<V: Vector>(d: [V; REACH]) -> [V; REACH] {
    // SAFETY: arithmetic alone; the caller has the instruction set.
    unsafe {
        // (x^2 - a) (x^2 - b) on every second value.
        let pairs = |a: f32, b: f32, [low, middle, high]: [V; 3]| {
            high.add_product(V::splat(-(a + b)), middle).add_product(V::splat(a * b), low)
        };
        let (even, odd) = ([d[2], d[4], d[6]], [d[1], d[3], d[5]]);
        let (even_p, odd_p) = (pairs(Q2, R2, even), pairs(Q2, R2, odd));
        let (even_q, odd_q) = (pairs(P2, R2, even), pairs(P2, R2, odd));
        let (even_r, odd_r) = (pairs(P2, Q2, even), pairs(P2, Q2, odd));
        [
            // (x^2 - R2) times what R's has, one place down.
            even_r.add_product(V::splat(-R2), pairs(P2, Q2, [d[0], d[2], d[4]])),
            even_p.add_product(V::splat(P), odd_p),
            even_p.add_product(V::splat(-P), odd_p),
            even_q.add_product(V::splat(Q), odd_q),
            even_q.add_product(V::splat(-Q), odd_q),
            even_r.add_product(V::splat(R), odd_r),
            even_r.add_product(V::splat(-R), odd_r),
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
        let (even_r, odd_r) = (m[5].add(m[6]), m[5].sub(m[6]));
        let sum = |factors: [f32; 3], [p, q, r]: [V; 3]| {
            let zero = V::splat(0.0);
            let sum = zero.add_product(V::splat(factors[0]), p).add_product(V::splat(factors[1]), q);
            sum.add_product(V::splat(factors[2]), r)
        };
        let (even, odd) = ([even_p, even_q, even_r], [odd_p, odd_q, odd_r]);
        [
            m[0].add(even_p).add(even_q).add(even_r),
            sum([P, Q, R], odd),
            sum([P2, Q2, R2], even),
            sum([P * P2, Q * Q2, R * R2], odd),
        ]
    }
}

/// `G g` of one row of a filter, in float64.
pub(in crate::extractor::kernels) fn filter_1d(g: [f64; TAPS]) -> [f64; REACH] {
    let [p, q, r] = [P, Q, R].map(f64::from);
    // The product of the distances of a point to all others; that of its opposite is the same.
    let distances = |x: f64, [a, b]: [f64; 2]| 2.0 * x * x * (x * x - a * a) * (x * x - b * b);
    let at =
        |x: f64, others: [f64; 2]| (g[0] + x * g[1] + x * x * g[2] + x * x * x * g[3]) / distances(x, others);
    [
        -g[0] / (p * q * r).powi(2),
        at(p, [q, r]),
        at(-p, [q, r]),
        at(q, [p, r]),
        at(-q, [p, r]),
        at(r, [p, q]),
        at(-r, [p, q]),
    ]
}

/// Transforms a row. Tiles are written in order, each after what the one before has written beyond its own.
///
/// # Safety
///
/// [`Vector`]'s contract; `4 * tiles + 3` pairs can be read and each point's tiles written, all with [`BEYOND`] values more.
#[inline(always)]
pub(in crate::extractor::kernels) unsafe fn input<V: Vector>(row: &Input) {
    for tile in 0..row.tiles {
        for at in (0..row.group).step_by(V::LANES) {
            // SAFETY: the caller's promise.
            unsafe {
                let from = row.from.add(tile * TILE * row.group + at);
                let points =
                    input_1d::<V>(each!((0 1 2 3 4 5 6), pair => V::load(from.add(pair * row.group))));
                let to = row.to.add(tile * row.group + at);
                let _: [(); REACH] =
                    each!((0 1 2 3 4 5 6), point => points[point].store(to.add(point * row.point_stride)));
            }
        }
    }
}

/// Transforms products back, and adds bias and ReLU.
///
/// # Safety
///
/// [`Vector`]'s contract; the products can be read, four pixels for each tile written, `width` is a multiple of the lanes.
#[inline(always)]
pub(in crate::extractor::kernels) unsafe fn output<V: Vector>(tiles: &Output) {
    for channel in (0..tiles.width).step_by(V::LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            let (bias, floor) = (V::load(tiles.bias.add(channel)), V::splat(0.0));
            for tile in 0..tiles.tiles {
                let from = tiles.from.add(tile * tiles.width + channel);
                let pixels = output_1d::<V>(
                    each!((0 1 2 3 4 5 6), point => V::load(from.add(point * tiles.point_stride))),
                );
                let to = tiles.to.add(tile * TILE * tiles.pixel_stride + channel);
                for (column, value) in pixels.into_iter().enumerate() {
                    // In this order a NaN stays one.
                    floor.max(value.add(bias)).store(to.add(column * tiles.pixel_stride));
                }
            }
        }
    }
}
