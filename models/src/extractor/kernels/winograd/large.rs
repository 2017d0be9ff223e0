//! The transforms of Winograd's method F(4 x 4, 3 x 3).
//!
//! After A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks (2016), section 4, with the interpolation
//! points 0, ±P, ±Q and infinity. P and Q are the reciprocals sqrt(1/2) and sqrt(2), not 1 and 2: their powers stay closer to
//! one, so that less is lost to rounding (B. Barabasz et al., Error Analysis and Improving the Accuracy of Winograd
//! Convolution for Deep Neural Networks, 2020).

use super::transform::{Input, Output, each, each_register, of_tiles, separable};
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

separable!((0 1 2 3 4 5), (0 1 2 3));
