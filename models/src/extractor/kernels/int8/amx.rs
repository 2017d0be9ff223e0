//! Products of 8 bits by the matrix unit of x86 (AMX), added in 32.

use crate::extractor::kernels::amx_products::products;
use crate::extractor::kernels::gemm::Tile;
use crate::extractor::kernels::group::fetch;
use std::arch::x86_64::__cpuid_count;

pub(in super::super) use crate::extractor::kernels::amx::{PIXELS, enter, leave};
pub(in super::super) use crate::extractor::kernels::amx_products::LINES;

/// Words of a step of the sum.
pub(in super::super) const STEP: usize = super::GROUP_WORDS;

/// Whether this process may use the unit for such products.
pub(in super::super) fn available() -> bool {
    const AMX_INT8: u32 = 1 << 25;
    crate::extractor::kernels::amx::lent() && __cpuid_count(7, 0).edx & AMX_INT8 != 0
}

/// Computes the bare sums of up to [`PIXELS`] pixels by [`PANEL`](super::PANEL) output channels. Pixels beyond the tile's are read, and sums
/// written, up to a multiple of 16.
///
/// # Safety
///
/// As [`gemm`](crate::extractor::kernels::gemm::gemm)'s; [`enter`] was called by this thread; activations can be read, and sums written, for the pixels
/// beyond.
#[target_feature(enable = "avx512f")]
pub(in super::super) unsafe fn multiply(tile: &Tile) {
    fetch::<1>(tile);
    products!(tile, "tdpbusd", STEP, 128usize, "64", tile.c, tile.c_stride * size_of::<f32>());
}
