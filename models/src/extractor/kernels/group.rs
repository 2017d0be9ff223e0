//! Groups of channels as the matrix unit takes them, in one part (rounded to bf16) or two (`split.rs`): from and to f32.

use super::gemm::Tile;
use super::max_pool::Row;
use super::split::GROUP;
use super::vector::{Vector, Zmm};
use std::arch::x86_64::*;

/// Asks for the lines of the outputs and the residual, while the sum is done.
#[inline(always)]
pub(super) fn fetch<const PARTS: usize>(tile: &Tile) {
    for row in 0..tile.pixels {
        for half in 0..PARTS {
            // SAFETY: hints, which touch no memory.
            unsafe {
                if !tile.residual.is_null() && tile.residual != tile.fetch {
                    let line = tile.residual.wrapping_add(row * tile.c_stride + half * GROUP / 2);
                    _mm_prefetch::<_MM_HINT_T0>(line.cast());
                }
                if !tile.fetch.is_null() {
                    let line = tile.fetch.wrapping_add(row * tile.fetch_stride + half * GROUP / 2);
                    _mm_prefetch::<_MM_HINT_T0>(line.cast());
                }
            }
        }
    }
}

/// A group of channels, first and second half.
pub(super) type Halves = [__m512; 2];

/// The values of a register of pairs.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn halves(pairs: __m512i) -> Halves {
    let mask = _mm512_set1_epi32(0xffff_0000u32 as i32);
    let (low, high) = (_mm512_slli_epi32::<16>(pairs), _mm512_and_si512(pairs, mask));
    [_mm512_castsi512_ps(low), _mm512_castsi512_ps(high)]
}

/// [`split::decode`](super::split::decode) of what lies at `from`.
///
/// # Safety
///
/// A group can be read; the processor has AVX-512F.
#[inline(always)]
pub(super) unsafe fn read<const PARTS: usize>(from: *const f32) -> Halves {
    // SAFETY: the caller's promise.
    unsafe {
        let large = halves(_mm512_loadu_si512(from.cast()));
        if PARTS == 1 {
            return large;
        }
        let small = halves(_mm512_loadu_si512(from.add(GROUP / 2).cast()));
        [_mm512_add_ps(large[0], small[0]), _mm512_add_ps(large[1], small[1])]
    }
}

/// [`split::encode`](super::split::encode) of `values` into `to`.
///
/// # Safety
///
/// There is room for a group; the processor has AVX-512F.
#[inline(always)]
pub(super) unsafe fn encode<const PARTS: usize>([first, second]: Halves, to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mask = _mm512_set1_epi32(0xffff_0000u32 as i32);
        let half = _mm512_set1_epi32(0x8000);
        let round = |value: __m512| _mm512_add_epi32(_mm512_castps_si512(value), half);
        let pair = |low, high| {
            // (high & mask) | (low >> 16)
            _mm512_ternarylogic_epi32::<0xf8>(_mm512_srli_epi32::<16>(low), high, mask)
        };
        let (low, high) = (round(first), round(second));
        let rest = |value, rounded| {
            round(_mm512_sub_ps(value, _mm512_castsi512_ps(_mm512_and_si512(rounded, mask))))
        };
        _mm512_storeu_si512(to.cast(), pair(low, high));
        if PARTS == 2 {
            _mm512_storeu_si512(to.add(GROUP / 2).cast(), pair(rest(first, low), rest(second, high)));
        }
    }
}

/// Joins the parts of the group at `from`.
///
/// # Safety
///
/// A group can be read and written; the processor has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn decode<const PARTS: usize>(from: *const f32, to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let [first, second] = read::<PARTS>(from);
        _mm512_storeu_ps(to, first);
        _mm512_storeu_ps(to.add(GROUP / 2), second);
    }
}

/// Adds what has to be added to the sums and stores them.
///
/// # Safety
///
/// As [`gemm`](super::gemm::gemm)'s; `sums` holds the tile's pixels, and the processor has AVX-512F.
#[inline(always)]
pub(super) unsafe fn finish<const PARTS: usize>(tile: &Tile, sums: *const f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let bias = [_mm512_loadu_ps(tile.bias), _mm512_loadu_ps(tile.bias.add(GROUP / 2))];
        let floor = _mm512_set1_ps(if tile.relu { 0.0 } else { f32::NEG_INFINITY });
        for row in 0..tile.pixels {
            let from = sums.add(row * GROUP);
            let mut values = [
                _mm512_add_ps(_mm512_load_ps(from), bias[0]),
                _mm512_add_ps(_mm512_load_ps(from.add(GROUP / 2)), bias[1]),
            ];
            if !tile.residual.is_null() {
                let added = read::<PARTS>(tile.residual.add(row * tile.c_stride));
                values = [_mm512_add_ps(values[0], added[0]), _mm512_add_ps(values[1], added[1])];
            }
            // In this order a NaN stays one.
            let values = [_mm512_max_ps(floor, values[0]), _mm512_max_ps(floor, values[1])];
            encode::<PARTS>(values, tile.c.add(row * tile.c_stride));
        }
    }
}

/// As [`pool_row`](super::max_pool::pool_row) on f32; the output is in parts.
///
/// # Safety
///
/// As that; the processor has AVX-512F, and `channels` is a multiple of [`GROUP`].
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn pool_row<const PARTS: usize>(row: &Row) {
    for x in 0..row.columns_out {
        let (first, last) = ((2 * x).saturating_sub(1), (2 * x + 1).min(row.columns_in - 1));
        for channel in (0..row.channels).step_by(GROUP) {
            // SAFETY: `last < columns_in`, `x < columns_out` and `channel + GROUP <= channels`.
            unsafe {
                let load = |input: *const f32, column: usize| {
                    let from = input.add(column * row.channels + channel);
                    [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(GROUP / 2))]
                };
                let mut greatest = load(row.inputs[0], first);
                for input in row.inputs {
                    for column in first..=last {
                        let values = load(input, column);
                        for (greatest, value) in greatest.iter_mut().zip(values) {
                            *greatest = Zmm(*greatest).max_or_nan(Zmm(value)).0;
                        }
                    }
                }
                // Rounding would carry a NaN of many ones over into a zero; those of products have none in the lower half.
                let nan = _mm512_set1_ps(f32::NAN);
                let plain =
                    |value| _mm512_mask_mov_ps(value, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value), nan);
                let to = row.output.add(x * row.output_stride + channel / GROUP * PARTS * GROUP / 2);
                encode::<PARTS>(greatest.map(plain), to);
            }
        }
    }
}
