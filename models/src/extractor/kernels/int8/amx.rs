//! Products of 8 bits by the matrix unit of x86 (AMX), added in 32.

use crate::extractor::kernels::amx::ROWS;
use crate::extractor::kernels::gemm::Tile;
use crate::extractor::kernels::group::fetch;
use std::arch::asm;
use std::arch::x86_64::__cpuid_count;

pub(in super::super) use crate::extractor::kernels::amx::{PIXELS, enter, leave};

/// Lines fetched ahead at each step of the sum.
pub(in super::super) const LINES: usize = 8;

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
    let stride = tile.a_stride * size_of::<f32>();
    let skip = (tile.segment_stride.wrapping_sub(tile.depth)).wrapping_mul(size_of::<f32>());
    let row = tile.c_stride * size_of::<f32>();
    if tile.pixels > ROWS {
        // The second register's pixels may be some of the first's: nothing beyond the tile is read.
        let second = tile.pixels - ROWS;
        // SAFETY: reads the activations of pixels 0..16 and `second..second + 16`, and `depth` rows of the panel for each segment;
        // writes 32 rows of sums. The unit is set up, by the caller's promise.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "mov {k}, {groups}",
                "3:",
                "tileloadd tmm4, [{p}+{s}]",
                "tileloadd tmm6, [{b}+{w}]",
                "prefetcht1 [{f}+0]",
                "prefetcht1 [{f}+64]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b}+{w}+64]",
                "prefetcht1 [{f}+128]",
                "prefetcht1 [{f}+192]",
                "tdpbusd tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{q}+{s}]",
                "prefetcht1 [{f}+256]",
                "prefetcht1 [{f}+320]",
                "tdpbusd tmm2, tmm5, tmm6",
                "prefetcht1 [{f}+384]",
                "prefetcht1 [{f}+448]",
                "tdpbusd tmm3, tmm5, tmm7",
                "add {p}, 64",
                "add {q}, 64",
                "add {b}, 2048",
                "add {f}, {g}",
                "dec {k}",
                "jnz 3b",
                "add {p}, {skip}",
                "add {q}, {skip}",
                "dec {n}",
                "jnz 2b",
                "mov {k}, {row}",
                "tilestored [{c}+{k}], tmm0",
                "tilestored [{c}+{k}+64], tmm1",
                "tilestored [{d}+{k}], tmm2",
                "tilestored [{d}+{k}+64], tmm3",
                p = inout(reg) tile.a => _,
                q = inout(reg) tile.a.wrapping_add(second * tile.a_stride) => _,
                s = in(reg) stride,
                b = inout(reg) tile.b => _,
                w = in(reg) 128usize,
                k = out(reg) _,
                f = inout(reg) tile.ahead => _,
                g = in(reg) tile.ahead_stride,
                groups = in(reg) tile.depth / STEP,
                n = inout(reg) tile.segments => _,
                skip = in(reg) skip,
                row = in(reg) row,
                c = in(reg) tile.c,
                d = in(reg) tile.c.wrapping_byte_add(second * row),
                options(nostack)
            );
        }
    } else {
        // SAFETY: as above, for pixels 0..16, which can be read by the caller's promise.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "2:",
                "mov {k}, {groups}",
                "3:",
                "tileloadd tmm4, [{p}+{s}]",
                "tileloadd tmm6, [{b}+{w}]",
                "prefetcht1 [{f}+0]",
                "prefetcht1 [{f}+64]",
                "prefetcht1 [{f}+128]",
                "prefetcht1 [{f}+192]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b}+{w}+64]",
                "prefetcht1 [{f}+256]",
                "prefetcht1 [{f}+320]",
                "prefetcht1 [{f}+384]",
                "prefetcht1 [{f}+448]",
                "tdpbusd tmm1, tmm4, tmm7",
                "add {p}, 64",
                "add {b}, 2048",
                "add {f}, {g}",
                "dec {k}",
                "jnz 3b",
                "add {p}, {skip}",
                "dec {n}",
                "jnz 2b",
                "mov {k}, {row}",
                "tilestored [{c}+{k}], tmm0",
                "tilestored [{c}+{k}+64], tmm1",
                p = inout(reg) tile.a => _,
                s = in(reg) stride,
                b = inout(reg) tile.b => _,
                w = in(reg) 128usize,
                k = out(reg) _,
                f = inout(reg) tile.ahead => _,
                g = in(reg) tile.ahead_stride,
                groups = in(reg) tile.depth / STEP,
                n = inout(reg) tile.segments => _,
                skip = in(reg) skip,
                row = in(reg) row,
                c = in(reg) tile.c,
                options(nostack)
            );
        }
    }
}
