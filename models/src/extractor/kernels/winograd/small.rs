//! The transforms of Winograd's method F(2 x 2, 3 x 3), with the interpolation points 0, 1, -1 and infinity.
//!
//! It saves less than F(4 x 4, 3 x 3), 16 products of 36 in place of 36 of 144, but has 16 planes of weights in place of 36: on a map of few pixels
//! the time goes by the weights that come from memory.

use super::transform::{Input, Output, each, each_register, of_tiles, separable};
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

separable!((0 1 2 3), (0 1));
