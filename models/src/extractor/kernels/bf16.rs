//! Products of bf16 by the matrix unit of x86 (AMX), added in f32: one multiplication where `amx.rs` takes three, and half the memory.
//!
//! A value keeps 8 bits of its mantissa: half a unit of the last is 2^-9 of it.

use super::amx::Sums;
pub(super) use super::amx_products::LINES;
use super::amx_products::products;
use super::gemm::Tile;
use super::group::{fetch, finish};
use super::split::GROUP;
use std::mem::MaybeUninit;

/// As [`amx::multiply`](super::amx::multiply), where maps and weights are of bf16.
///
/// # Safety
///
/// As that.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply(tile: &Tile) {
    fetch::<1>(tile);
    let mut sums = Sums(MaybeUninit::uninit());
    // A register's two groups of channels lie side by side in each row of the sums.
    let row = GROUP * size_of::<f32>();
    products!(tile, "tdpbf16ps", GROUP / 2, 64usize, "1024", sums.0.as_mut_ptr(), row);
    // SAFETY: the first `pixels` rows of the sums were written above; the rest is the caller's promise.
    unsafe { finish::<1>(tile, sums.0.as_ptr().cast()) }
}
