//! Products of bf16 by the matrix unit of x86 (AMX), added in f32: one multiplication where `amx.rs` takes three, and half the memory.
//!
//! A value keeps 8 bits of its mantissa: half a unit of the last is 2^-9 of it.

use super::amx::{ROWS, Sums};
use super::gemm::Tile;
use super::group::{fetch, finish};
use super::split::GROUP;
use std::arch::asm;
use std::mem::MaybeUninit;

/// Lines fetched ahead at each step of the sum.
pub(super) const LINES: usize = 8;

/// As [`amx::multiply`](super::amx::multiply), where maps and weights are of bf16.
///
/// # Safety
///
/// As that.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply(tile: &Tile) {
    fetch::<1>(tile);
    let mut sums = Sums(MaybeUninit::uninit());
    let stride = tile.a_stride * size_of::<f32>();
    let skip = (tile.segment_stride.wrapping_sub(tile.depth)).wrapping_mul(size_of::<f32>());
    // A register's two groups of channels lie side by side in each row of the sums.
    let row = GROUP * size_of::<f32>();
    if tile.pixels > ROWS {
        // The second register's pixels may be some of the first's: nothing beyond the tile is read.
        let second = tile.pixels - ROWS;
        // SAFETY: reads the activations of pixels 0..16 and `second..second + 16`, and `depth` rows of the panel for each segment;
        // writes the sums' 32 rows. The unit is set up, by the caller's promise.
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
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b}+{w}+1024]",
                "prefetcht1 [{f}+128]",
                "prefetcht1 [{f}+192]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{q}+{s}]",
                "prefetcht1 [{f}+256]",
                "prefetcht1 [{f}+320]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "prefetcht1 [{f}+384]",
                "prefetcht1 [{f}+448]",
                "tdpbf16ps tmm3, tmm5, tmm7",
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
                w = in(reg) 64usize,
                k = out(reg) _,
                f = inout(reg) tile.ahead => _,
                g = in(reg) tile.ahead_stride,
                groups = in(reg) tile.depth / (GROUP / 2),
                n = inout(reg) tile.segments => _,
                skip = in(reg) skip,
                row = in(reg) row,
                c = in(reg) sums.0.as_mut_ptr(),
                d = in(reg) sums.0.as_mut_ptr().wrapping_byte_add(second * row),
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
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b}+{w}+1024]",
                "prefetcht1 [{f}+256]",
                "prefetcht1 [{f}+320]",
                "prefetcht1 [{f}+384]",
                "prefetcht1 [{f}+448]",
                "tdpbf16ps tmm1, tmm4, tmm7",
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
                w = in(reg) 64usize,
                k = out(reg) _,
                f = inout(reg) tile.ahead => _,
                g = in(reg) tile.ahead_stride,
                groups = in(reg) tile.depth / (GROUP / 2),
                n = inout(reg) tile.segments => _,
                skip = in(reg) skip,
                row = in(reg) row,
                c = in(reg) sums.0.as_mut_ptr(),
                options(nostack)
            );
        }
    }
    // SAFETY: the first `pixels` rows of the sums were written above; the rest is the caller's promise.
    unsafe { finish::<1>(tile, sums.0.as_ptr().cast()) }
}
