//! The transforms of Winograd's method F(3 x 3, 3 x 3), with the interpolation points ±P, ±Q and infinity.
//!
//! It does 25 products of 81 on 25 planes of weights, where F(4 x 4, 3 x 3) does 36 of 144 on 36: on a map of some hundred pixels fewer weights
//! from memory are worth more than fewer products. Without the point 0 all others come in pairs, whose sums are shared; of such points those
//! near a half and five quarters lose least to rounding (tried by steps of a tenth, on sums of 256 channels), half as much as the larger
//! method's.

use super::transform::{Input, Output, each, each_register, of_tiles, separable};
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

separable!((0 1 2 3 4), (0 1 2));
